"""What requests cost, and a limit: the most that a request can cost is set aside before it is sent.

Knows nothing of HTTP; safe within one event loop.
"""

from __future__ import annotations

from dataclasses import dataclass

from neuraltuning.errors import RunError
from neuraltuning.mmud.workers import Stop

POLL = 0.02
"""Seconds between two looks at whether a finished request has left enough of the budget."""
MARGIN = 1.1
"""On estimates of input, also on corrected ones: no two images are alike."""


@dataclass(frozen=True)
class Prices:
    """Per million tokens, in any currency."""

    input: float = 0.0
    output: float = 0.0

    @property
    def known(self) -> bool:
        return self != FREE

    def cost(self, input_tokens: float, output_tokens: float) -> float:
        return (input_tokens * self.input + output_tokens * self.output) / 1e6


FREE = Prices()


@dataclass(frozen=True)
class Reservation:
    """Set aside for one request.

    Attributes:
        input_tokens: estimated, before any correction.
        most: what the request can cost at most.
    """

    input_tokens: float
    most: float


class Budget:
    """Keeps what was spent and what is set aside below a limit.

    Estimates of input tokens are corrected by what the server counts. As long as it hasn't counted any, a limited
    budget lets only one request be under way.

    Attributes:
        prices, limit, spent: as given, and added up.
    """

    def __init__(self, prices: Prices, limit: float | None, spent: float, stop: Stop) -> None:
        """`limit` None: none; `spent` before; `stop` ends waiting."""
        self.prices, self.limit, self.spent = prices, limit, spent
        self._stop = stop
        self._aside = 0.0
        self._under_way = 0
        self._correction: float | None = None

    async def reserve(self, input_tokens: float, output_tokens: int) -> Reservation:
        """Sets aside what a request can cost; waits while others under way may still leave enough.

        Args:
            input_tokens: estimated.
            output_tokens: the largest possible number.

        Raises:
            RunError: the limit would be passed, with nothing under way.
            Stopped: the run ends.
        """
        while True:
            most = self.prices.cost(input_tokens * (self._correction or 1.0) * MARGIN, output_tokens)
            if self.limit is None or (self._fits(most) and (self._correction is not None or not self._under_way)):
                self._aside += most
                self._under_way += 1
                return Reservation(input_tokens, most)
            if not self._under_way:
                raise RunError(
                    f"The budget of {self.limit:.2f} does not allow another request: {self.spent:.4f} is spent and the "
                    f"next may cost {most:.4f}. What was answered is kept; raise --budget and run the same command."
                )
            await self._stop.sleep(POLL)

    def settle(self, reservation: Reservation, cost: float, counted_input: int | None = None) -> None:
        """Takes a reservation back and books what the request did cost.

        Args:
            reservation: of the request.
            cost: its cost.
            counted_input: the input tokens that the server counted; None without an answer.
        """
        self._aside -= reservation.most
        self._under_way -= 1
        self.spent += cost
        if counted_input is not None:
            self._correction = max(self._correction or 1.0, counted_input / max(reservation.input_tokens, 1.0))

    def _fits(self, most: float) -> bool:
        assert self.limit is not None
        return self.spent + self._aside + most <= self.limit
