"""Every figure of the project: one look, one place, made to be projected."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib

matplotlib.use("Agg")  # figures go to files; no screen is needed

import matplotlib.pyplot as plt  # noqa: E402
import matplotlib.ticker  # noqa: E402

BEFORE, AFTER, ACCENT, INK = "#b8b8b8", "#2f6db5", "#d1603d", "#333333"
GREEN, VIOLET = "#3f9c6b", "#8d6ab8"
STYLE = {
    "figure.dpi": 150, "font.size": 12, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK,
    "ytick.color": INK, "axes.titlesize": 13, "axes.titlelocation": "left", "legend.frameon": False,
    "svg.hashsalt": "minisft",
}
SMALL = 10  # points: numbers at bars and dots
INTERVALS = "Dots are means over seeds; lines through them are 95% intervals over seeds."


def save(figure, path):
    """Write a figure without the date, so that the same numbers give the same file.

    In a notebook it is shown too.
    """
    figure.savefig(path, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    ipython = sys.modules.get("IPython")
    if ipython and ipython.get_ipython() is not None:
        ipython.display.display(ipython.display.Image(filename=str(path)))


def png(draw, *arguments):
    """The bytes of the file that draw(path, *arguments) writes; draw: a function of this module."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        draw(path, *arguments)
        return path.read_bytes()


def running_mean(values, width):
    """Mean over the last `width` values, or as many as there are."""
    means = []
    for i in range(len(values)):
        last = values[max(0, i - width + 1):i + 1]
        means.append(sum(last) / len(last))
    return means


def label(name, space="\n"):
    """A name as text of a figure: a dollar sign in it begins no formula."""
    return name.replace("_", space).replace("$", r"\$")


def as_shares(axis):
    """Write an axis from 0 to 1 as 0% to 100%."""
    axis.set_ticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])


def error(value, low, high):
    """Lengths of the two halves of an error bar, as errorbar wants them."""
    return [[max(0, value - low)], [max(0, high - value)]]


def before_after(axes, shares, intervals=None):
    """Two bars for each split: {split: (before, after)}, shares from 0 to 1.

    intervals: {split: (low, high)} of after.
    """
    for i, (split, (before, after)) in enumerate(shares.items()):
        axes.bar(i - 0.2, before, 0.38, color=BEFORE, label="before" if i == 0 else None)
        axes.bar(i + 0.2, after, 0.38, color=AFTER, label="after" if i == 0 else None)
        low, high = (intervals or {}).get(split, (after, after))
        if intervals:
            axes.errorbar(i + 0.2, after, error(after, low, high), color=INK, capsize=3)
        axes.text(i - 0.2, before + 0.015, f"{before:.0%}", ha="center", fontsize=SMALL)
        axes.text(i + 0.2, max(after, high) + 0.015, f"{after:.0%}", ha="center", fontsize=SMALL)
    axes.set_xticks(range(len(shares)), [label(split) for split in shares], fontsize=SMALL)
    axes.set_xlim(-0.6, len(shares) - 0.4)
    axes.set_ylim(0, 1.12)
    as_shares(axes.yaxis)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)


def training(path, log, shares):
    """The loss over steps, and exact match before and after for each split (if there are any)."""
    widths = [4.8, max(4.8, 1.3 * len(shares))][:2 if shares else 1]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(widths), figsize=(sum(widths), 3.8),
                                    width_ratios=widths, squeeze=False)
        loss, steps = axes[0, 0], [row["step"] for row in log]
        losses = [row["loss"] for row in log]
        loss.plot(steps, losses, color=BEFORE, linewidth=0.8, label="each step")
        loss.plot(steps, running_mean(losses, max(1, len(losses) // 25)), color=AFTER, linewidth=2,
                  label="running mean")
        loss.legend()
        loss.set_yscale("log")
        loss.set(xlabel="step", title="Loss per supervised token")
        if shares:
            before_after(axes[0, 1], shares)
            axes[0, 1].set_title("Exact match on questions never trained on")
        figure.tight_layout()
        save(figure, path)


def comparison(path, shares, intervals, title):
    """Before and after for each split, with 95% intervals of after."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(max(6, 1.35 * len(shares)), 4.2))
        before_after(axes, shares, intervals)
        axes.set_title(title)
        figure.text(0.99, -0.08, "Lines are 95% intervals.", ha="right", fontsize=SMALL)
        save(figure, path)


def grouped_bars(path, groups, names, title, y_label):
    """Bars in groups: {group: [(value, low, high) for each name]}, shares from 0 to 1."""
    colors = (BEFORE, ACCENT, AFTER) if len(names) == 3 else (AFTER, ACCENT)
    width = 0.8 / len(names)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(9.5, 4.2))
        for k, name in enumerate(names):
            for i, group in enumerate(groups.values()):
                place = i + (k - (len(names) - 1) / 2) * width
                value, low, high = group[k]
                axes.bar(place, value, width * 0.94, color=colors[k],
                         label=name if i == 0 else None)
                if low < high:
                    axes.errorbar(place, value, error(value, low, high), color=INK, capsize=3)
                axes.text(place, max(value, high) + 0.015, f"{value:.0%}", ha="center",
                          fontsize=SMALL)
        axes.set_xticks(range(len(groups)), [label(group, " ") for group in groups])
        axes.set_ylim(0, 1.12)
        as_shares(axes.yaxis)
        axes.set(title=title, ylabel=y_label)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=len(names))
        note = "Lines are 95% intervals, where they are known."
        figure.text(0.99, -0.1, note, ha="right", fontsize=SMALL)
        save(figure, path)


def arms(path, panels, x_label, limits=(0, 1)):
    """A dot with its 95% interval for each arm, on one scale for all panels.

    panels: {title: {arm: (value, low, high)}}; shares.
    """
    with plt.rc_context(STYLE):
        across = len(panels) if len(panels) < 4 else 2
        down = -(-len(panels) // across)
        height = 1.5 + 0.42 * max(map(len, panels.values()))
        figure, axes = plt.subplots(down, across, figsize=(max(8.5, 5.6 * across), height * down),
                                    squeeze=False, layout="constrained")
        for panel in axes.flat[len(panels):]:
            panel.axis("off")
        for panel, (title, each) in zip(axes.flat, panels.items()):
            for i, (value, low, high) in enumerate(each.values()):
                panel.errorbar(value, -i, xerr=error(value, low, high), fmt="o", color=AFTER,
                               ecolor=INK, capsize=4, markersize=5)
                panel.annotate(f"{value:.1%}", (value, -i), xytext=(0, 7),
                               textcoords="offset points", ha="center", fontsize=SMALL)
            panel.set_yticks([-i for i in range(len(each))], each)
            panel.set_ylim(-len(each) + 0.4, 0.7)
            margin = 0.06 * (limits[1] - limits[0])
            panel.set_xlim(limits[0] - margin, limits[1] + margin)
            panel.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6, steps=(1, 2, 5, 10)))
            panel.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
            panel.grid(axis="x", alpha=0.3)
            panel.set_title(title, loc="center")
            panel.set_xlabel(x_label)
        figure.supxlabel(INTERVALS, fontsize=SMALL)
        save(figure, path)


def matrices(path, panels, row_label, column_label):
    """A table of shares for each title, shaded: {title: {row: {column: share}}}."""
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(down, across, figsize=(4.6 * across, 3.9 * down),
                                    squeeze=False, layout="constrained")
        for panel in axes.flat[len(panels):]:
            panel.axis("off")
        for panel, (title, rows) in zip(axes.flat, panels.items()):
            columns = list(next(iter(rows.values())))
            shares = [[row[column] for column in columns] for row in rows.values()]
            panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
            for y, row in enumerate(shares):
                for x, share in enumerate(row):
                    panel.text(x, y, f"{share:.0%}", ha="center", va="center", fontsize=SMALL,
                               color="white" if share > 0.6 else INK)
            panel.set_xticks(range(len(columns)), columns, fontsize=SMALL, rotation=30, ha="right")
            panel.set_yticks(range(len(rows)), rows, fontsize=SMALL)
            panel.set(title=title, xlabel=column_label, ylabel=row_label)
        save(figure, path)


def methods(path, each):
    """What methods reach and cost: {name: {"right": (value, low, high), "parameters": n, ...}}.

    step: time as a share of full tuning's; memory, file: bytes; forgotten: (rise of the loss on
    held-out prose, low, high).
    """
    names, colors = list(each), [BEFORE, AFTER, GREEN, ACCENT, VIOLET]
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(12.5, 7.6), layout="constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=[1.2, 1])
        _reached(top.subplots(), each, colors)
        panels = (("Time of a step\n(full tuning = 1)", "step", 1, "{:.2f}"),
                  ("Memory of a step\n(MB)", "memory", 1e-6, "{:.1f}"),
                  ("File\n(kB)", "file", 1e-3, "{:,.0f}"),
                  ("Forgetting: rise of\nthe loss on prose", "forgotten", 1, "{:+.2f}"))
        for axes, (title, key, unit, form) in zip(bottom.subplots(1, 4), panels):
            for i, name in enumerate(names):
                given = each[name][key]
                value, low, high = given if isinstance(given, list | tuple) else (given,) * 3
                axes.barh(i, value * unit, color=colors[i])
                if low < high:
                    axes.errorbar(value, i, xerr=error(value, low, high), color=INK, capsize=3)
                axes.annotate(form.format(value * unit), (max(high * unit, 0), i), xytext=(4, -4),
                              textcoords="offset points", fontsize=SMALL)
            first = axes.get_subplotspec().is_first_col()
            axes.set_yticks(range(len(names)), names if first else [""] * len(names))
            axes.invert_yaxis()
            axes.set_xlim(0, 1.3 * axes.get_xlim()[1])
            axes.set_title(title)
        figure.supxlabel("Lines are 95% intervals over seeds (of times: over repetitions).",
                         fontsize=SMALL)
        save(figure, path)


def _reached(axes, each, colors):
    """Correct answers against trainable parameters, one dot for each method."""
    for i, (name, method) in enumerate(each.items()):
        value, low, high = method["right"]
        axes.errorbar(method["parameters"], value, error(value, low, high), fmt="o", capsize=3,
                      color=colors[i], ecolor=INK, markersize=9)
        axes.annotate(f"{name}: {value:.1%}", (method["parameters"], value),
                      xytext=(11, (-16, 6)[i % 2]), textcoords="offset points")
    axes.set_xscale("log")
    axes.set_xlim(right=7 * max(method["parameters"] for method in each.values()))
    axes.set_ylim(0, 1.06)
    as_shares(axes.yaxis)
    axes.set(title="Correct answers against trainable parameters", xlabel="trainable parameters",
             ylabel="correct answers")
    axes.grid(alpha=0.3)


def tokens(path, texts, flags, title, width=66):
    """A row of tokens in boxes, broken into lines; those with a flag are coloured."""
    lines, used = [[]], 0
    for text, flag in zip(texts, flags):
        text = text.replace("\n", "↵")
        if used + len(text) + 2 > width:
            lines.append([])
            used = 0
        lines[-1].append((used, text, flag))
        used += len(text) + 2
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(10, 0.56 * len(lines) + 1.1))
        for row, line in enumerate(lines):
            for place, text, flag in line:
                box = plt.Rectangle((place, -row - 0.35), len(text) + 1.4, 0.7, linewidth=0,
                                    facecolor="#bfe3c0" if flag else "#eeeeee")
                axes.add_patch(box)
                axes.text(place + (len(text) + 1.4) / 2, -row, text.strip(" "), ha="center",
                          va="center", family="monospace", fontsize=SMALL,
                          color="#0b3d12" if flag else "#666666")
        axes.set(xlim=(-0.5, width), ylim=(-len(lines) + 0.4, 0.6), title=title)
        axes.axis("off")
        figure.text(0.13, 0.0, "green: the model must predict it        grey: it only reads it")
        save(figure, path)


def probabilities(path, words, before, after, title):
    """The probability of each next token before and after an update, on a logarithmic scale."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(11, 4.6))
        for i, (old, new) in enumerate(zip(before, after)):
            axes.plot([i, i], [old, new], color=BEFORE, linewidth=2, zorder=1)
        places = range(len(words))
        axes.scatter(places, before, color=BEFORE, s=60, label="before the update")
        axes.scatter(places, after, color=AFTER, s=60, label="after the update")
        axes.set_yscale("log")
        axes.set_xticks(places, words)
        axes.set_yticks([1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1],
                        ["0.00000001%", "0.000001%", "0.0001%", "0.01%", "1%", "100%"])
        axes.minorticks_off()
        axes.grid(axis="y", alpha=0.3)
        axes.set(title=title, ylabel="probability (each grid line is\n100 times the one below it)")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
        save(figure, path)


def funnel(path, left, title):
    """How many are left after each step, from top to bottom: {step: number}."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(9, 0.36 * len(left) + 1.2), layout="constrained")
        numbers = list(left.values())
        for i, number in enumerate(numbers):
            lost = numbers[i - 1] - number if i else 0
            axes.barh(-i, number, 0.72, color=AFTER)
            axes.barh(-i, lost, 0.72, left=number, color=BEFORE)
            text = f"{number:,}" + (f"  (-{lost:,})" if lost else "")
            axes.annotate(text, (number + lost, -i), xytext=(5, -4), textcoords="offset points",
                          fontsize=SMALL)
        axes.set_yticks([-i for i in range(len(left))], [label(step) for step in left])
        axes.set_ylim(0.4 - len(left), 0.6)
        axes.set_xlim(0, 1.18 * max(1, *numbers))
        axes.set(title=title)
        save(figure, path)


def corpus(path, counts, splits, lengths):
    """Rows of each task in each split, as a table of numbers, and how long its conversations are.

    counts: {(split, task): rows}; lengths: {task: tokens of each conversation}.
    """
    tasks = list(lengths)
    with plt.rc_context(STYLE):
        figure, (rows, spread) = plt.subplots(
            1, 2, figsize=(14, 0.34 * len(tasks) + 1.6), sharey=True, width_ratios=(1.9, 1),
            layout="constrained")
        most = max(counts.values())
        for i, task in enumerate(tasks):
            for k, split in enumerate(splits):
                number = counts.get((split, task), 0)
                if number:
                    color = AFTER if k == 0 else ACCENT
                    shade = 0.15 + 0.75 * number / most
                    rows.add_patch(plt.Rectangle((k - 0.48, i - 0.45), 0.96, 0.9, linewidth=0,
                                                 facecolor=color, alpha=shade))
                    rows.text(k, i, f"{number:,}", ha="center", va="center", fontsize=SMALL)
        rows.set_xticks(range(len(splits)), [label(split) for split in splits],
                        fontsize=SMALL - 1)
        rows.set_xlim(-0.5, len(splits) - 0.5)
        rows.set_title("Conversations (blue: to tune on; red: to test)")
        rows.tick_params(length=0)
        spread.boxplot([lengths[task] for task in tasks], orientation="horizontal",
                       positions=range(len(tasks)), widths=0.6, showfliers=False, whis=(0, 100),
                       medianprops={"color": ACCENT, "linewidth": 2})
        rows.set_yticks(range(len(tasks)), [label(task, " ") for task in tasks])
        rows.set_ylim(len(tasks) - 0.4, -0.6)
        spread.set_title("Length: least, quartiles, most")
        spread.set_xlabel("tokens in a conversation")
        spread.set_xlim(left=0)
        save(figure, path)


def over_training(path, probes):
    """The loss, and what a base model could do, step by step. probes: rows of `add_probe`."""
    steps = [row["step"] for row in probes]
    names = {"recall": "recall of a text", "few_shot": "known skills, from 5 examples",
             "mapping": "made-up mapping, word seen",
             "sorting": "made-up sorting, word new (chance 50%)"}
    with plt.rc_context(STYLE):
        figure, (loss, shares) = plt.subplots(1, 2, figsize=(12, 4.4))
        loss.plot(steps, [row["loss"] for row in probes], color=AFTER, linewidth=2)
        loss.set(title="Loss per token", xlabel="step")
        loss.set_yscale("log")
        loss.set_yticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])
        loss.minorticks_off()
        for (name, text), color in zip(names.items(), (AFTER, ACCENT, INK, BEFORE)):
            shares.plot(steps, [row[name] for row in probes], color=color, linewidth=2, label=text)
        shares.axhline(0.5, color=BEFORE, linewidth=0.8, linestyle=":")  # chance of the sorting
        shares.set(title="Correct continuations", xlabel="step", ylim=(0, 1.02))
        as_shares(shares.yaxis)
        shares.legend(fontsize=SMALL, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
        figure.tight_layout()
        save(figure, path)


def trees(path, families, fates, outcomes):
    """Families of evolved instructions as trees, and what became of each operation's attempts.

    families: {title: [(round, round of the parent, operation, outcome), ...]}; fates: {operation:
    {outcome: number}}; outcomes: names, the first of them "kept".
    """
    shades = (AFTER, BEFORE, ACCENT, VIOLET, INK, GREEN, "#d9b44a")
    colors = dict(zip(outcomes, shades, strict=True))
    rounds = max(step[0] for steps in families.values() for step in steps)
    widths = (1.6 * (rounds + 1), 5.5)
    height = max(4, 1.25 * len(families) + 1.5, 0.6 * len(fates) + 2)
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(sum(widths), height),
                                             width_ratios=widths, layout="constrained")
        for lane, (title, steps) in enumerate(families.items()):
            left.text(-0.1, -lane + 0.3, label(title, "_"), fontsize=SMALL, fontweight="bold")
            left.scatter(0, -lane, color=INK, s=50, zorder=2)
            for round, before, operation, outcome in steps:
                is_kept = outcome == outcomes[0]
                y = -lane if is_kept else -lane - 0.3
                left.plot([before, round], [-lane, y], color=colors[outcome], linewidth=1.5,
                          zorder=1)
                left.scatter(round, y, color=colors[outcome], marker="o" if is_kept else "X", s=50,
                             zorder=2)
                left.annotate(label(operation, "_"), (round, y), xytext=(0, 6 if is_kept else -15),
                              textcoords="offset points", ha="center", fontsize=SMALL - 2)
        left.set(xlim=(-0.2, rounds + 0.6), ylim=(-len(families) + 0.3, 0.6), xlabel="round",
                 title="The first families")
        left.set_xticks(range(rounds + 1))
        left.yaxis.set_visible(False)
        left.spines["left"].set_visible(False)
        _fates(right, fates, colors)
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2,
                      fontsize=SMALL)
        save(figure, path)


def _fates(axes, fates, colors):
    """A bar for each operation, its attempts by outcome, in the order of `colors`."""
    for i, numbers in enumerate(fates.values()):
        done = 0
        for outcome, color in colors.items():
            axes.barh(i, numbers.get(outcome, 0), left=done, color=color,
                      label=label(outcome, "_") if i == 0 else None)
            done += numbers.get(outcome, 0)
        kept = numbers.get(next(iter(colors)), 0)
        axes.annotate(f"{kept / done:.0%} kept", (done, i), xytext=(4, -4),
                      textcoords="offset points", fontsize=SMALL)
    axes.set_yticks(range(len(fates)), [label(operation, "_") for operation in fates])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25 * axes.get_xlim()[1])
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, integer=True))
    axes.set(xlabel="attempts", title="What became of the attempts")


def kill_matrix(path, panels):
    """Which case tells which mistake.

    panels: {title: {name of a mistake: for each case the share of seeds in which it tells it}}.
    """
    columns = 3
    rows = -(-len(panels) // columns)
    with plt.rc_context(STYLE | {"font.size": 7}):
        figure, grid = plt.subplots(rows, columns, figsize=(16, 3.4 * rows), squeeze=False)
        for axes in grid.flat[len(panels):]:
            axes.set_axis_off()
        for axes, (title, mistakes) in zip(grid.flat, panels.items()):
            axes.imshow(list(mistakes.values()), cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axes.set_yticks(range(len(mistakes)), [label(name, "_") for name in mistakes])
            cases = len(next(iter(mistakes.values())))
            axes.set_xticks(range(cases), range(1, cases + 1))
            axes.tick_params(length=0)
            axes.set_title(label(title, "_"), fontsize=SMALL)
        grid.flat[0].set_xlabel("case, from the smallest to the largest; dark: it tells the mistake"
                                " in every seed")
        figure.tight_layout()
        save(figure, path)
