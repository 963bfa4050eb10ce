"""The regret table as one picture: policies down, families of scenarios across; p99 and failures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from replay.sweep.regret import OURS, Regret

WORST = 10.0  # p99 over the clairvoyant's from which on the colour says no more
MOST = 10.0  # percent of requests that failed, likewise
LEAST = 0.01
HEIGHT, WIDTH = 0.27, 0.47  # inches of a cell


def draw(regret: Regret, path: Path) -> None:
    """Writes the picture: SVG or PNG, by the name's ending."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import colors, pyplot

    policies, families = regret.policies, regret.families
    stand = [[regret.standing(p, f) for f in families] for p in policies]
    p99 = np.array([[s.p99 for s in row] for row in stand])
    beyond = 100.0 * np.array([[s.beyond for s in row] for row in stand])
    size = (2 * (len(families) * WIDTH) + 3.4, len(policies) * HEIGHT + 1.5)
    with matplotlib.rc_context({"svg.hashsalt": "adaptive", "svg.fonttype": "none", "font.size": 7}):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=size, layout="constrained", sharey=True)
        _heat(left, p99, colors.LogNorm(1.0, WORST), [f"{x:.2f}" if x < 9.95 else f"{x:.0f}" for x in p99.flat])
        texts = ["" if x < LEAST / 2 else f"{x:.2f}" if x < 9.95 else f"{x:.0f}" for x in beyond.flat]
        _heat(right, np.maximum(beyond, LEAST), colors.LogNorm(LEAST, MOST), texts)
        left.set_title("p99, times the clairvoyant's")
        right.set_title("requests that failed, percent of all, beyond the clairvoyant's")
        left.set_yticks(range(len(policies)), policies)
        for label in left.get_yticklabels():
            label.set_fontweight("bold" if label.get_text() == OURS else "normal")
        for axes in (left, right):
            axes.set_xticks(range(len(families)), families)
            axes.tick_params(length=0)
        fleets = ", ".join(str(n) for n in sorted({n for n, _ in regret.fleets}))
        loads = " and ".join(f"{load:g}" for load in sorted({load for _, load in regret.fleets}))
        figure.suptitle(
            f"Fleets of {fleets}, load {loads}, held-out seeds: {regret.seeds}; {len(regret.cells)} runs a policy"
            f"{'; ' * bool(regret.partial())}{regret.partial()}",
            fontsize=8,
        )
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None}, dpi=110)
        pyplot.close(figure)


def _heat(axes: Any, values: Any, norm: Any, texts: list[str]) -> None:
    axes.imshow(np.clip(values, norm.vmin, norm.vmax), norm=norm, cmap="YlOrRd", aspect="auto")
    rows, columns = values.shape
    for k, text in enumerate(texts):
        dark = norm(np.clip(values.flat[k], norm.vmin, norm.vmax)) > 0.6
        axes.text(k % columns, k // columns, text, ha="center", va="center", fontsize=5.5, color="w" if dark else "k")
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
