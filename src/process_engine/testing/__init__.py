"""What helps to test processes and agents; public."""
