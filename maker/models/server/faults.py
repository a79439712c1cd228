"""What may become of a request that brings no reply that can vote."""

from __future__ import annotations

from maker.models.dialects.openai_reply import Reply


class Unbilled(Exception):
    """A failed try that was certainly not billed and may be repeated.

    ``wait_s`` is how long the server asks to wait; ``alive`` says that the server is up, ``crowded`` that it had too
    many requests, ``reached`` false that there was no connection to it.
    """

    def __init__(
        self,
        what: str,
        *,
        wait_s: float | None = None,
        alive: bool = False,
        crowded: bool = False,
        reached: bool = True,
    ) -> None:
        super().__init__(what)
        self.reached = reached
        self.wait_s = wait_s
        self.alive = alive
        self.crowded = crowded


class Lost(Exception):
    """A try that was sent but gave no usable reply; it may be billed.

    ``reply`` is another model's reply with its cost, if there was one. ``late`` says that the server took too long, or
    a gateway found so, ``cut`` that the connection broke. ``fix`` is shown if the server has never answered.
    """

    def __init__(
        self, what: str, *, fix: str, reply: Reply | None = None, late: bool = False, cut: bool = False
    ) -> None:
        super().__init__(what)
        self.fix = fix
        self.reply = reply
        self.late = late
        self.cut = cut


class Refusal(Exception):
    """A refusal that no later try will change.

    ``of_prompt`` says that another prompt may be answered, ``of_n`` that a request for a single reply may.
    ``of_server`` says that the server refused nothing, and failed try after try. ``field`` is the field of the request
    that the server says it does not take, "" if it names none. ``too_large`` says that a smaller one may be taken.
    """

    def __init__(
        self,
        reason: str,
        *,
        fix: str = "",
        unusable: bool = False,
        of_prompt: bool = False,
        of_n: bool = False,
        of_server: bool = False,
        field: str = "",
        too_large: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix
        self.unusable = unusable
        self.of_prompt = of_prompt
        self.of_n = of_n
        self.of_server = of_server
        self.field = field
        self.too_large = too_large
