"""What reading costs: X bills every post that it delivers. Shown in the metrics and the log, and held to a limit."""

import logging
from typing import Final

from feltwire import metrics
from feltwire.sources._x_parse import NAME
from feltwire.spend import Period, Purse, SpentError

_TOLD_EVERY: Final = 10_000  # posts

_log = logging.getLogger("feltwire.sources.x")


class Spend:
    """The account of one reading of the source. Counts that a limit holds over are shared by all processes."""

    def __init__(
        self, address: str, *, cost_per_1000: float, limit: float | None, period: Period, waits: bool = True
    ) -> None:
        """`address` names the far side and the account, without a secret; `waits`: a limit that is reached is waited
        for until its period ends. Raises ConfigError."""
        self._price = cost_per_1000 / 1_000
        self._limited = limit is not None
        self._purse = Purse(address, limit=limit, period=period) if self._price else None
        self._period = period
        self._waits = waits
        self.posts = 0
        """Posts that were delivered since the start."""

    @property
    def for_good(self) -> bool:
        """Whether a limit that is reached is an end: time never lifts it, or is not waited for."""
        return self._period == "total" or not self._waits

    def check(self) -> None:
        """Raises SpentError when not even one post more may be read."""
        self.take(0, at_least=1)

    def take(self, wanted: int, *, at_least: int) -> int:
        """Note so many posts before they are asked for, or as many as may be read, and return how many.

        Raises SpentError when that is fewer than `at_least`. What does not come after all is given `back`.
        """
        if self._purse is None or not self._limited:
            return wanted
        left = self._purse.left() or 0.0
        allowed = min(max(wanted, at_least), int(left / self._price + 1e-6))
        if allowed < at_least:
            raise self._purse.reached()
        if wanted:
            self._purse.spend(allowed * self._price)
        return min(wanted, allowed)

    def back(self, posts: int) -> None:
        """So many posts that were taken did not come."""
        if self._purse is not None and self._limited and posts:
            self._purse.spend(-posts * self._price)

    def came(self, posts: int, *, taken: bool) -> None:
        """So many posts were delivered. `taken`: their price stands in the account already."""
        if not posts:
            return
        before = self.posts // _TOLD_EVERY
        self.posts += posts
        metrics.SOURCE_POSTS_READ.labels(source=NAME).inc(posts)
        if self._purse is None:
            return
        metrics.SOURCE_SPENT.labels(source=NAME).inc(posts * self._price)
        if not (taken and self._limited):
            self._purse.note(posts * self._price)
        if self.posts // _TOLD_EVERY > before:
            _log.info("%d posts read; %s", self.posts, self.told())

    def told(self) -> str:
        """What was spent, in one line."""
        if self._purse is None:
            return f"{self.posts:,} posts read"
        return f"spent {self._purse.spent():.2f} in this {self._period}"


__all__ = ["Spend", "SpentError"]
