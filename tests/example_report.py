"""A report that uses every part that there is, with texts as hostile as those that a run may leave."""

import math

import numpy as np

from lmlab.analysis.report.document import (
    Axis,
    Chart,
    Code,
    Column,
    Document,
    Interval,
    Note,
    Section,
    Series,
    SideBySide,
    Table,
    Text,
)

HOSTILE = (
    '</script><script>document.title = "taken over"</script>'
    '<img src="https://example.invalid/x.png" onerror="alert(1)">'
    "\x00\x1b[31m \u202edesrever\u202c \ud800 %{y} {{ 7 * 7 }} "
    "`code` ``` | pipe | \\end{document} $x_1^2$ #1 & ~ é ∞ 日本 🙂"
)
LONG = "the quick brown fox </pre> " * 4000

ARMS = {"lstm": 1.62, "transformer": 1.48, "mamba2": 1.45, "griffin": 1.50}
_X = {
    "tokens": Axis("training tokens", log=True),
    "seconds": Axis("time in s"),
    "flops": Axis("training FLOPs", log=True),
}


def _curve(arm: str, floor: float, n: int = 200) -> Series:
    random = np.random.default_rng(len(arm))
    tokens = np.geomspace(1e4, 2e7, n)
    mean = floor + 14 * tokens**-0.32 + random.normal(0, 0.004, n)
    half = 0.15 * tokens**-0.08
    x = {"tokens": tokens.tolist(), "seconds": (tokens / 9000 / floor).tolist(), "flops": (tokens * 6e6).tolist()}
    y = mean.tolist()
    if arm == "griffin":
        y[120:] = [math.nan] * (n - 120)  # it diverged
    return Series(arm, arm, x, y, (mean - half).tolist(), (mean + half).tolist())


def _chart_learning() -> Chart:
    return Chart(
        "learning-curves",
        "Validation loss while training: mean of five seeds with 95 % intervals",
        _X,
        Axis("validation loss in bits per byte"),
        [_curve(arm, floor) for arm, floor in ARMS.items()],
        "Mamba 2 is lowest from a million tokens on; griffin diverges at two million tokens; the LSTM ends highest.",
        "Student's t over seeds at every logged step, thinned to 200 points.",
    )


def _chart_scaling() -> Chart:
    points = []
    for arm, floor in ARMS.items():
        flops = np.geomspace(1e13, 1e16, 5)
        y = floor - 0.4 + 60 * flops**-0.11
        points.append(
            Series(
                f"{arm}, measured",
                arm,
                {"flops": flops.tolist()},
                y.tolist(),
                (y - 0.03).tolist(),
                (y + 0.03).tolist(),
                "points",
                [f"{arm}-stdlib-{i:04x} · {10 ** (6 + i / 2):,.0f} parameters" for i in range(5)],
            )
        )
        fine = np.geomspace(1e13, 1e17, 40)
        points.append(
            Series(
                f"{arm}, fit", arm, {"flops": fine.tolist()}, (floor - 0.4 + 60 * fine**-0.11).tolist(), kind="dashes"
            )
        )
    return Chart(
        "scaling",
        "Loss against compute, with the fitted power law",
        {"flops": Axis("training FLOPs", log=True)},
        Axis("validation loss in bits per byte", log=True),
        points,
        "All four fall along parallel power laws.",
    )


def _chart_bars() -> Chart:
    lengths = ["1×", "2×", "4×", "8×"]
    return Chart(
        "length",
        "Accuracy beyond the length of training",
        {"length": Axis("length of the task, in lengths of training")},
        Axis("accuracy in %"),
        [
            Series(arm, arm, {"length": lengths}, y, [v - 2 for v in y], [min(v + 2, 100) for v in y], "bars")
            for arm, y in (
                ("lstm", [100, 99.5, 98, 97.0]),
                ("transformer", [99.9, 71, 40, 22.0]),
                ("mamba2", [100.0, 97, 88, 61]),
            )
        ],
        "The LSTM keeps its accuracy at eight times the length of training, the transformer does not.",
    )


def _chart_odd() -> Chart:
    return Chart(
        HOSTILE[:60],
        HOSTILE,
        {"x": Axis(HOSTILE[:80])},
        Axis("loss <b>in</b> nats"),
        [
            Series(
                HOSTILE[:90],
                HOSTILE,
                {"x": [1.0, 2.0, 3.0, math.inf]},
                [1.0, math.nan, -math.inf, 2.0],
                details=[HOSTILE] * 4,
            ),
            Series("gru", "gru", {"x": [1.0, 2.0, 3.0]}, [2.0, 1.5, 1.2], [math.nan, 1.4, 1.1], [math.inf, 1.6, 1.3]),
            Series("empty", "empty", {"x": []}, []),
        ],
        HOSTILE,
    )


def _table_results() -> Table:
    columns = [
        Column("arm"),
        Column("seeds", form="{:d}"),
        Column("validation loss", "bits per byte", "{:.3f}", "lower", best=frozenset({1})),
        Column("against transformer", "Bonferroni-corrected", "{:+.3f}"),
        Column("throughput", "tokens/s", "{:,.0f}", "higher"),
        Column("parameters", "total", "{:,}"),
        Column("state", "bytes per sequence", "{:,}"),
        Column("model FLOPs utilisation", "%", "{:.1f}"),
    ]
    rows = [
        [
            "transformer",
            5,
            Interval(1.4821, 1.4702, 1.4940),
            None,
            Interval(21034, 20800, 21260),
            10_021_888,
            1_048_576,
            31.2,
        ],
        [
            "mamba2",
            5,
            Interval(1.4550, 1.4420, 1.4680),
            Interval(-0.0271, -0.041, -0.013),
            Interval(18211, 18002, 18400),
            9_987_072,
            65_536,
            24.9,
        ],
        [
            "lstm",
            5,
            Interval(1.6210, 1.6080, 1.6340),
            Interval(0.1389, 0.12, 0.158),
            Interval(9120, 9011, 9200),
            10_010_112,
            8_192,
            11.0,
        ],
        [
            "griffin",
            1,
            Interval(math.nan, math.nan, math.nan),
            math.inf,
            Interval(15002, math.nan, math.nan),
            10_002_432,
            40_960,
            math.nan,
        ],
    ]
    return Table(
        "results",
        "Four architectures of ten million parameters on the same 20 million tokens",
        columns,
        rows,
        "Mean over seeds with 95 % intervals of Student's t. Difference from the transformer paired by seed.",
    )


def _table_runs() -> Table:
    random = np.random.default_rng(0)
    rows: list[list[str | float | int | None]] = []
    for i in range(24):
        arm = list(ARMS)[i % 4]
        failed = i == 11
        rows.append(
            [
                f"{arm}-stdlib-{i * 7919 % 65536:04x}",
                arm,
                i % 6 + 1,
                10.0 ** -(2 + i % 3),
                None if failed else float(ARMS[arm] + random.normal(0, 0.02)),
                "failed" if failed else "finished",
                HOSTILE if failed else LONG if i == 12 else "",
            ]
        )
    columns = [
        Column("run"),
        Column("model"),
        Column("seed"),
        Column("learning rate", form="{:.0e}"),
        Column("validation loss", "bits per byte", "{:.4f}", "lower"),
        Column("status"),
        Column("notes"),
    ]
    return Table("runs", "Every run that the report is about", columns, rows)


def example() -> Document:
    """The report."""
    return Document(
        "Recurrent or attention at ten million parameters?",
        "Mamba 2 is better than the Transformer by 0.027 bits per byte [0.013, 0.041] at equal parameters and tokens "
        "(five seeds each, paired t-test, p = 0.004 after Bonferroni); the LSTM is worse than both.",
        [
            Note(
                "griffin has one seed: nothing is known of its spread (griffin-stdlib-4ffe).",
                ["lmlab train -m model=griffin 'data.paths=a b.txt' seed=1,2,3,4,5"],
            ),
            Note(
                "The best learning rate of the lstm is at the edge of its grid, 3e-3: a better one may lie beyond it "
                "(lstm-stdlib-1eef, lstm-stdlib-9a1c, lstm-stdlib-77b3)."
            ),
        ],
        [
            Section(
                "Results",
                [
                    Text(
                        "All arms saw the same tokens in the same order and are scored once per token of the "
                        "validation split, in windows of equal context."
                    ),
                    _table_results(),
                    _chart_learning(),
                ],
            ),
            Section("Scaling", [_chart_scaling(), Text("A second paragraph.\nWith two lines.")]),
            Section("Diagnostics", [_chart_bars()]),
            Section(
                "Samples",
                [
                    SideBySide(
                        {
                            "lstm": "def main():\n    return self.x\n\n\nclass Foo:",
                            "transformer": HOSTILE,
                            "mamba2": LONG,
                        }
                    ),
                ],
            ),
            Section("Runs", [_table_runs()]),
            Section("Hostile <i>text</i> & more", [_chart_odd(), Text(HOSTILE)]),
            Section(
                "How to repeat it",
                [
                    Code(
                        "lmlab train -m model=lstm,transformer,mamba2 model.parameters=10M seed=1,2,3,4,5 \\\n"
                        "  data=stdlib budget.tokens=20_000_000"
                    ),
                    Code("lmlab report runs=outputs/runs"),
                ],
            ),
        ],
        "28 runs in outputs/runs, read on 2026-11-26; lmlab 0.1.0 at 03edd5c.",
    )


def linear(colour):
    """Return the linear red, green and blue of a colour ``#rrggbb``."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast_ratio(first, second):
    """Return the contrast of two colours, 1 to 21 (WCAG 2.2, "contrast ratio" and "relative luminance")."""
    low, high = sorted(linear(colour) @ [0.2126, 0.7152, 0.0722] for colour in (first, second))
    return (high + 0.05) / (low + 0.05)
