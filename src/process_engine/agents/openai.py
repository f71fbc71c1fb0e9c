"""Agents behind an OpenAI-compatible chat endpoint: one question, one answer, no tools."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal, NoReturn, cast

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, SecretStr, ValidationInfo
from yarl import URL

from process_engine.agents.answers import checked_usage, structured
from process_engine.agents.requests import message_text
from process_engine.agents.transport import (
    MAX_RETRY_AFTER,
    Address,
    HeaderValue,
    HttpConnectionSettings,
    Transport,
    retry_after,
)
from process_engine.core.results import Usage
from process_engine.definition.durations import parse_duration
from process_engine.runtime.ports import AgentCallFailed, AgentReply, AgentRequest

# Prices are told per so many tokens: a million, 10^6.
PRICE_TOKENS_EXPONENT = 6

# Ends that say that the answer is whole; None is what servers send that do not say.
_WHOLE = frozenset({None, "", "stop", "end_turn", "stop_sequence", "eos", "eos_token"})
_CUT_OFF = frozenset({"length", "max_tokens", "model_length"})
_WITHHELD = frozenset({"content_filter", "refusal", "safety"})
_RESERVED_PARAMETERS = frozenset(
    {
        "function_call", "functions", "max_tokens", "messages", "model", "n",
        "stream", "stream_options", "temperature", "tool_choice", "tools",
    }
)  # fmt: skip
_REMAINING = re.compile(r"x-ratelimit-remaining-([a-z-]+)", re.IGNORECASE)


class Price(BaseModel, frozen=True):
    """What a model costs, per million tokens. Ten digits: costs stay exact within the 28 of a Decimal."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    input: Decimal = Field(ge=0, max_digits=10, description="Price of a million tokens read.")
    output: Decimal = Field(ge=0, max_digits=10, description="Price of a million tokens written.")

    def cost(self, input_tokens: int, output_tokens: int) -> Decimal:
        """The price of so many tokens."""
        return (self.input * input_tokens + self.output * output_tokens).scaleb(-PRICE_TOKENS_EXPONENT)


def _only_authorization(key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    if key is not None and not key.get_secret_value():
        raise ValueError("must not be empty; leave it out for none")
    headers = cast("Mapping[str, object]", info.data.get("headers", {}))
    if key is not None and any(name.lower() == "authorization" for name in headers):
        raise ValueError("is sent as the header Authorization, which `headers` sets too; leave one out")
    return key


def _own_parameters(parameters: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    if taken := sorted(_RESERVED_PARAMETERS & set(parameters)):
        raise ValueError(f"must not hold {', '.join(taken)}: the engine sets or forbids it")
    return parameters


def _complete_prices(prices: Mapping[str, Price], info: ValidationInfo) -> Mapping[str, Price]:
    model = info.data.get("model")
    if prices and model is not None and model not in prices:
        raise ValueError("has no price for the agent's own `model`; add it, 0 if it costs nothing")
    return prices


class OpenAiSettings(HttpConnectionSettings, frozen=True):
    """An agent that is a model behind an OpenAI-compatible chat endpoint."""

    kind: Literal["openai"] = Field(
        default="openai", description="A model behind an OpenAI-compatible chat endpoint."
    )
    base_url: Address = Field(description="The address that /chat/completions is added to.")
    api_key: Annotated[HeaderValue | None, AfterValidator(_only_authorization)] = Field(
        default=None, description="Sent as Authorization: Bearer …; usually ${NAME}."
    )
    model: str | None = Field(
        default=None, min_length=1, description="The model, unless the step names another."
    )
    system: str | None = Field(default=None, description="The system text, unless the step has another.")
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="The temperature, unless the step sets another."
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="How long an answer may be; a longer one fails as INVALID_OUTPUT."
    )
    parameters: Annotated[Mapping[str, JsonValue], AfterValidator(_own_parameters)] = Field(
        default_factory=dict[str, JsonValue],
        description="Further keys of the request, such as max_completion_tokens or response_format.",
    )
    prices: Annotated[Mapping[str, Price], AfterValidator(_complete_prices)] = Field(
        default_factory=dict[str, Price],
        description="Prices per million tokens by model, as {MODEL: {input: '0.15', output: '0.60'}}.",
    )

    def connect(self) -> OpenAiAgent:
        return OpenAiAgent(self)


class _Part(msgspec.Struct, frozen=True):
    text: str | None = None


class _Message(msgspec.Struct, frozen=True):
    content: str | list[_Part] | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    message: _Message
    finish_reason: str | None = None


class _Tokens(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(msgspec.Struct, frozen=True):
    """The part of a chat completion that counts here."""

    choices: list[_Choice] | None = None
    usage: _Tokens | None = None
    error: object = None


_completions = msgspec.json.Decoder(_Completion)


class OpenAiAgent:
    """Asks a model; its connections belong to the loop of the first call."""

    def __init__(self, settings: OpenAiSettings) -> None:
        self._settings = settings
        base = URL(settings.base_url)
        key = settings.api_key
        self._transport = Transport(
            # Some services want a version in the query.
            (base / "chat" / "completions").with_query(base.query),
            settings,
            headers={"Authorization": f"Bearer {key.get_secret_value()}"} if key else {},
            explain=explanation,
            wait_asked=wait_asked,
        )

    async def call(self, request: AgentRequest) -> AgentReply:
        """Ask once; as `AgentGateway.call`."""
        model = request.model or self._settings.model
        price = self._price(model)
        answer = await self._transport.post(self._question(request, model), request)
        try:
            completion = _completions.decode(answer.body)
        except (ValueError, RecursionError) as error:
            self._fail("INVALID_OUTPUT", f"answered what is no chat completion: {error}")
        usage = _usage(completion.usage or _Tokens(), price)
        try:
            text = self._answer(completion)
        except AgentCallFailed as error:
            # Half an answer has been paid for like a whole one.
            error.usage = usage
            raise
        return AgentReply(output=structured(text), usage=usage)

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _price(self, model: str | None) -> Price | None:
        """The price of the model, None where the configuration has no prices at all."""
        if model is None:
            raise AgentCallFailed("AGENT_ERROR", "neither the step nor the configuration names a `model`")
        prices = self._settings.prices
        if prices and model not in prices:
            # Before anything is spent: a cost that is not known could not be held against a budget.
            raise AgentCallFailed("AGENT_ERROR", f"the configuration has no price for the model `{model}`")
        return prices.get(model)

    def _question(self, request: AgentRequest, model: str | None) -> bytes:
        settings = self._settings
        system = request.system if request.system is not None else settings.system
        temperature = request.temperature if request.temperature is not None else settings.temperature
        messages = [{"role": "system", "content": system}] if system else []
        optional = {"temperature": temperature, "max_tokens": settings.max_tokens}
        return msgspec.json.encode(
            {
                **settings.parameters,
                "model": model,
                "messages": [*messages, {"role": "user", "content": message_text(request)}],
                "stream": False,
                **{name: value for name, value in optional.items() if value is not None},
            }
        )

    def _answer(self, completion: _Completion) -> str:
        """The text of the answer, if it is there, whole, and one."""
        if not completion.choices:
            if completion.error is not None:
                self._reject(completion.error)
            self._fail("INVALID_OUTPUT", "answered a chat completion without choices")
        choice = completion.choices[0]
        reason = choice.finish_reason
        if choice.message.refusal or reason in _WITHHELD:
            why = self._transport.shown(choice.message.refusal or f"finish_reason {reason}")
            self._fail("AGENT_ERROR", f"refused to answer: {why}")
        if reason in _CUT_OFF:
            # Half an answer must not pass as one.
            self._fail("INVALID_OUTPUT", "cut the answer off at its limit of tokens; raise `max_tokens`")
        if reason not in _WHOLE:
            shown = self._transport.shown(reason or "")
            self._fail("INVALID_OUTPUT", f"did not end its answer but stopped with finish_reason {shown}")
        content = choice.message.content
        if content is None:
            self._fail("INVALID_OUTPUT", "answered a message without content")
        return content if isinstance(content, str) else "".join(part.text or "" for part in content)

    def _reject(self, error: object) -> NoReturn:
        """Fail for an error that came with a status of success."""
        reason = _message_of(error) or ""
        code = _first_of(cast("dict[str, object]", error), ("code",)) if isinstance(error, dict) else None
        if isinstance(code, int) and 400 <= code < 600:
            self._transport.reject(code, reason, {})
        self._fail("AGENT_ERROR", f"answered an error: {self._transport.shown(reason)}")

    def _fail(self, code: str, what: str) -> NoReturn:
        self._transport.fail(code, what)


def explanation(body: str) -> str:
    """What a provider says in the body of a refusal: its message, else the body itself."""
    try:
        value: object = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return body
    return _message_of(value) or body


def wait_asked(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait before the next attempt, at most `MAX_RETRY_AFTER`; None if the headers do not say.

    `Retry-After` counts first; then, of the limits that are used up (`x-ratelimit-remaining-… : 0`), the
    latest `x-ratelimit-reset-…`, a length of time such as `1s` or `6m0s`.
    """
    if (asked := retry_after(headers)) is not None:
        return asked
    used_up = [found[1] for name in headers if (found := _REMAINING.fullmatch(name)) and headers[name] == "0"]
    resets = [_seconds(headers.get(f"x-ratelimit-reset-{what}", "")) for what in used_up]
    told = [seconds for seconds in resets if seconds is not None]
    return min(max(told), MAX_RETRY_AFTER) if told else None


def _seconds(text: str) -> float | None:
    try:
        return parse_duration(text.strip()).seconds
    except ValueError:
        return None


def _message_of(said: object) -> str | None:
    """The message in `{"error": {"message": …}}`, `{"error": …}`, `{"message": …}` or `{"detail": …}`."""
    value = said
    while isinstance(value, dict):
        value = _first_of(cast("dict[str, object]", value), ("error", "message", "detail"))
    return value if isinstance(value, str) else None


def _first_of(found: Mapping[str, object], keys: tuple[str, ...]) -> object:
    return next((found[key] for key in keys if found.get(key)), None)


def _usage(tokens: _Tokens, price: Price | None) -> Usage:
    read, written = tokens.prompt_tokens or 0, tokens.completion_tokens or 0
    counted = checked_usage(Usage(input_tokens=read, output_tokens=written))
    if price is None:
        return counted
    return checked_usage(msgspec.structs.replace(counted, cost=price.cost(read, written)))
