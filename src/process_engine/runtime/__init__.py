"""The shell around the core: one asyncio loop that gathers, decides, commits and releases."""
