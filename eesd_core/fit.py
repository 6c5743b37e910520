"""How a time that has two parts grows with each of them, learned from noisy rounds: least squares with forgetting. Every round counts
relative to the time that was expected of it. Where rounds do not tell the parts apart, their factors stay together. Ours."""


class Fit:
    """`first`, `second`: factors such that a round takes first * (its first part) + second * (its second part)."""

    FADES = 0.98  # weight of older rounds per round: the fit covers about 50 of them, half a second or less
    BEFORE = 3.0  # rounds that the expected time is worth at first
    TOGETHER = 0.25, 0.05  # weight, in rounds, of the wish that both factors be the same: at first, and at least
    FASTER = 10.0  # rounds that one counts as if it took less than half: nothing makes a step shorter, so what was expected was wrong
    LEAST = 0.1  # of a factor
    MOST_CHANGE = 1.3  # a round counts as at most so many times its expected time, since longer ones were probably interrupted

    def __init__(self):
        self.first = self.second = 1.0
        self.together, self.least_together = self.TOGETHER
        self.sums = self.BEFORE, 0.0, 0.0, self.BEFORE, 0.0  # of first^2, first * second, second^2, first * seconds, second * seconds

    def learn(self, first: float, second: float, seconds: float) -> None:
        """The parts as expected without factors, in seconds, and what a round took."""
        expected = self.first * first + self.second * second
        if not expected:
            return
        x, y, took = first / expected, second / expected, min(seconds / expected, self.MOST_CHANGE)
        fades, weight = self.FADES, self.FASTER if took < 0.5 else 1.0
        xx, xy, yy, xt, yt = self.sums
        xx, xy, yy = fades * xx + weight * x * x, fades * xy + weight * x * y, fades * yy + weight * y * y
        xt, yt = fades * xt + weight * x * took, fades * yt + weight * y * took
        self.sums = xx, xy, yy, xt, yt
        self.together = together = max(fades * self.together, self.least_together)
        xx, xy, yy = xx + together, xy - together, yy + together
        scale = 1 / (xx * yy - xy * xy)
        self.first = max(scale * (yy * xt - xy * yt), self.LEAST)
        self.second = max(scale * (xx * yt - xy * xt), self.LEAST)
