from pathlib import Path

import pytest

from process_engine.channels import EmailSettings
from process_engine.channels import email as module
from process_engine.channels.email import MAX_TEXT_BYTES, message_id
from process_engine.runtime.ports import Delivery, DeliveryFailed, Notice
from process_engine.testing.mail_server import MailServer
from tests.unit.channels.support import AT, KEY, certificate, notice

ANN, BOB, CID = "ann@example.org", "bob@example.org", "cid@example.org"
PASSWORD = "correct horse battery"


def settings(server: MailServer, **keys: object) -> EmailSettings:
    given = {"host": "127.0.0.1", "port": server.port, "tls": "none", "from": "engine@example.org"}
    return EmailSettings.model_validate(given | keys)


async def delivered(server: MailServer, what: Notice, **keys: object) -> Delivery:
    return await settings(server, **keys).connect().deliver(what)


async def failure(server: MailServer, what: Notice, **keys: object) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        await delivered(server, what, **keys)
    return caught.value


# ---------------------------------------------------------------- what is sent


async def test_a_message_is_plain_text_to_all_of_its_recipients():
    async with MailServer() as server:
        delivery = await delivered(
            server, notice("Der Wasserstand: größer.", recipients=(ANN, BOB)), reply_to="desk@example.org"
        )

    [mail] = server.mails
    assert (mail.sender, mail.recipients) == ("engine@example.org", (ANN, BOB))
    assert mail.message["Subject"] == "About the tide"
    assert mail.message["From"] == "engine@example.org"
    assert mail.message["To"] == f"{ANN}, {BOB}"
    assert mail.message["Reply-To"] == "desk@example.org"
    assert mail.message["Date"].datetime == AT
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert mail.message.get_content_type() == "text/plain"
    assert mail.message.get_content().rstrip() == "Der Wasserstand: größer."
    assert delivery == Delivery(recipients=(ANN, BOB), message_id=mail.message["Message-ID"])
    assert type(delivery.message_id) is str


async def test_every_attempt_carries_the_same_message_id():
    async with MailServer() as server:
        for _ in range(2):
            await delivered(server, notice(recipients=(ANN,)))
        await delivered(server, notice(recipients=(ANN,), key="0abc/tell/2"))

    first, again, other = (mail.message["Message-ID"] for mail in server.mails)
    assert first == again == message_id(KEY, "engine@example.org")
    assert other != first


@pytest.mark.parametrize(
    ("urgency", "importance"), [("low", "low"), ("normal", None), ("high", "high"), ("critical", "high")]
)
async def test_urgency_is_told_to_mail_programs(urgency: str, importance: str | None):
    async with MailServer() as server:
        await delivered(server, notice(recipients=(ANN,), urgency=urgency))

    assert server.mails[0].message["Importance"] == importance


async def test_text_that_looks_like_the_protocol_stays_text():
    text = "first\n.\nQUIT\r\n.\r\nMAIL FROM:<evil@example.org>\n..\rend"
    async with MailServer() as server:
        await delivered(server, notice(text, recipients=(ANN,)))

    assert server.connections == 1
    [mail] = server.mails
    assert mail.message.get_content().split() == text.split()


async def test_the_channel_names_recipients_where_the_step_names_none():
    async with MailServer() as server:
        await delivered(server, notice(), recipients=[CID])
        await delivered(server, notice(recipients=(ANN,)), recipients=[CID])

    assert [mail.recipients for mail in server.mails] == [(CID,), (ANN,)]


# ---------------------------------------------------------------- some are refused


async def test_one_of_three_is_refused_and_the_others_have_it():
    async with MailServer(refuse={BOB: "550 no such user"}) as server:
        error = await failure(server, notice(recipients=(ANN, BOB, CID)))

    assert [mail.recipients for mail in server.mails] == [(ANN, CID)]
    assert (error.code, error.transient) == ("DELIVERY_FAILED", False)
    assert error.reached == (ANN, CID)
    assert error.message == (f"127.0.0.1: {BOB} was refused with 550: no such user; delivered to 2 of 3")


async def test_the_rest_is_written_to_once_it_is_taken_and_nobody_twice():
    async with MailServer() as server:
        delivery = await delivered(server, notice(recipients=(ANN, BOB, CID), reached=(ANN, CID)))

    [mail] = server.mails
    assert mail.recipients == (BOB,)
    assert mail.message["To"] == f"{ANN}, {BOB}, {CID}"
    assert delivery.recipients == (ANN, BOB, CID)


async def test_who_was_reached_before_stays_reached_when_the_rest_is_refused_again():
    async with MailServer(refuse={BOB: "450 mailbox busy"}) as server:
        error = await failure(server, notice(recipients=(ANN, BOB, CID), reached=(ANN,)))

    assert (error.code, error.transient, error.reached) == ("CHANNEL_UNAVAILABLE", True, (ANN, CID))


async def test_everybody_has_it_already():
    async with MailServer() as server:
        delivery = await delivered(server, notice(recipients=(ANN,), reached=(ANN,)))

    assert server.connections == 0
    assert delivery.recipients == (ANN,)


async def test_all_are_refused():
    async with MailServer(refuse={ANN: "550 no", BOB: "551 no"}) as server:
        error = await failure(server, notice(recipients=(ANN, BOB)))

    assert (error.code, error.transient, error.reached) == ("DELIVERY_FAILED", False, ())
    assert server.mails == []


async def test_a_refusal_for_now_beside_one_for_good_is_worth_another_attempt():
    async with MailServer(refuse={ANN: "450 later", BOB: "550 never"}) as server:
        error = await failure(server, notice(recipients=(ANN, BOB, CID)))

    assert (error.code, error.transient, error.reached) == ("CHANNEL_UNAVAILABLE", True, (CID,))


# ---------------------------------------------------------------- the server refuses, or is none


@pytest.mark.parametrize(
    ("answers", "code", "transient"),
    [
        ({"MAIL": "550 not from you"}, "DELIVERY_FAILED", False),
        ({"MAIL": "451 try later"}, "CHANNEL_UNAVAILABLE", True),
        ({"DATA": "554 no"}, "DELIVERY_FAILED", False),
        ({"END": "552 too much"}, "DELIVERY_FAILED", False),
        ({"END": "452 disk full"}, "CHANNEL_UNAVAILABLE", True),
        ({"GREETING": "554 go away"}, "DELIVERY_FAILED", False),
        ({"GREETING": "421 busy"}, "CHANNEL_UNAVAILABLE", True),
    ],
)
async def test_only_the_confirmation_of_the_whole_text_is_a_delivery(
    answers: dict[str, str], code: str, transient: bool
):
    async with MailServer(answers=answers) as server:
        error = await failure(server, notice(recipients=(ANN,)))

    assert (error.code, error.transient, error.reached) == (code, transient, ())
    assert next(iter(answers.values()))[:3] in error.message
    assert server.mails == []


@pytest.mark.parametrize("fault", ["close", "garbage", "endless", "close_at_data", "lose_confirmation"])
async def test_a_connection_that_ends_before_the_confirmation_is_no_delivery(fault: str):
    async with MailServer(fault=fault) as server:  # type: ignore[arg-type]
        error = await failure(server, notice(recipients=(ANN,)))

    assert error.code in ("CHANNEL_UNAVAILABLE", "DELIVERY_FAILED")
    assert error.transient is (fault not in ("garbage", "endless"))
    assert len(error.message) < 300


async def test_a_server_that_never_answers_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)
    async with MailServer(fault="silent") as server:
        error = await failure(server, notice(recipients=(ANN,)))

    assert (error.code, error.transient) == ("CHANNEL_UNAVAILABLE", True)
    assert "did not answer within 0.05 s" in error.message


async def test_nobody_listens():
    async with MailServer() as server:
        pass
    error = await failure(server, notice(recipients=(ANN,)))

    assert (error.code, error.transient) == ("CHANNEL_UNAVAILABLE", True)
    assert "cannot be reached" in error.message


# ---------------------------------------------------------------- secrets and TLS


async def test_starttls_comes_before_the_password(tmp_path: Path):
    cert, context = certificate(tmp_path)
    async with MailServer(context=context, login=("engine", PASSWORD)) as server:
        await delivered(
            server,
            notice(recipients=(ANN,)),
            tls="starttls",
            ca_file=str(cert),
            username="engine",
            password=PASSWORD,
        )

    [mail] = server.mails
    assert (mail.secure, mail.user) == (True, "engine")


async def test_tls_from_the_first_byte(tmp_path: Path):
    cert, context = certificate(tmp_path)
    async with MailServer(context=context, tls=True) as server:
        await delivered(server, notice(recipients=(ANN,)), tls="tls", ca_file=str(cert))

    assert server.mails[0].secure


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(tmp_path: Path, tls: str):
    _, context = certificate(tmp_path)
    async with MailServer(context=context, tls=tls == "tls") as server:
        error = await failure(server, notice(recipients=(ANN,)), tls=tls)

    assert (error.code, error.transient) == ("DELIVERY_FAILED", False)
    assert "cannot be trusted" in error.message
    assert server.mails == []


async def test_a_server_without_starttls_gets_neither_password_nor_text():
    async with MailServer(login=("engine", PASSWORD)) as server:
        error = await failure(
            server, notice(recipients=(ANN,)), tls="starttls", username="engine", password=PASSWORD
        )

    assert (error.code, error.transient) == ("DELIVERY_FAILED", False)
    assert server.mails == []


async def test_a_wrong_password_is_told_without_being_shown():
    answers = {"AUTH": f"535 wrong: {PASSWORD}"}
    async with MailServer(login=("engine", PASSWORD), answers=answers) as server:
        error = await failure(server, notice(recipients=(ANN,)), username="engine", password=PASSWORD)

    assert (error.code, error.transient) == ("DELIVERY_FAILED", False)
    assert "answered 535: wrong: …" in error.message


# ---------------------------------------------------------------- what is not sent


@pytest.mark.parametrize(
    "address",
    [
        "ann",
        "ann@",
        "@example.org",
        "ann@example.org\nBcc: all@example.org",
        "ann@example.org>\r\nRCPT TO:<all@example.org",
        "Ann <ann@example.org>",
        "ann@example.org,bob@example.org",
        "änn@example.org",
        "a" * 65 + "@example.org",
        "ann@" + "a." * 130 + "org",
        "ann@example..org",
    ],
)
async def test_what_is_no_address_is_refused_before_anybody_is_asked(address: str):
    async with MailServer() as server:
        error = await failure(server, notice(recipients=(ANN, address)))

    assert (error.code, error.transient, server.connections) == ("DELIVERY_FAILED", False, 0)
    assert "\n" not in error.message


@pytest.mark.parametrize("subject", ["a\nBcc: all@example.org", "a\r\n\r\nbody", "a\x00b", "x" * 901])
async def test_a_subject_that_is_no_line_is_refused(subject: str):
    async with MailServer() as server:
        error = await failure(server, notice(recipients=(ANN,), subject=subject))

    assert (error.code, server.connections) == ("DELIVERY_FAILED", 0)
    assert "the subject must be one line" in error.message


async def test_a_text_over_the_limit_is_refused():
    async with MailServer() as server:
        error = await failure(server, notice("x" * (MAX_TEXT_BYTES + 1), recipients=(ANN,)))

    assert (error.code, server.connections) == ("DELIVERY_FAILED", 0)


async def test_nobody_is_named():
    async with MailServer() as server:
        error = await failure(server, notice())

    assert (error.code, server.connections) == ("DELIVERY_FAILED", 0)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"tls": "none", "username": "u", "password": PASSWORD}, "sent in the open"),
        ({"username": "u"}, "belong together"),
        ({"password": PASSWORD}, "belong together"),
        ({"from": "engine"}, "must be an e-mail address"),
        ({"ca_file": "nowhere.pem"}, "there is no such file"),
        ({"port": 70_000}, "less than or equal to 65535"),
        ({"host": ""}, "at least 1 character"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(keys: dict[str, object], told: str):
    with pytest.raises(ValueError, match=told) as caught:
        EmailSettings.model_validate({"host": "mail.example", "from": "engine@example.org"} | keys)

    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(("tls", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_the_port_follows_from_how_the_connection_is_kept_secret(tls: str, port: int):
    given = EmailSettings.model_validate({"host": "h", "from": "e@example.org", "tls": tls})

    assert given.connect()._server().port == port
