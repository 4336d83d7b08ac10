"""Every figure of the project: one look, one place."""

import matplotlib

matplotlib.use("Agg")  # figures go to files; no screen is needed

import matplotlib.pyplot as plt  # noqa: E402
import matplotlib.ticker  # noqa: E402

BEFORE, AFTER, ACCENT, INK = "#b8b8b8", "#2f6db5", "#d1603d", "#333333"
STYLE = {
    "figure.dpi": 150, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.titlesize": 11, "axes.titlelocation": "left", "legend.frameon": False, "svg.hashsalt": "minisft",
}


def save(figure, path):
    """Write a figure without the date, so that the same numbers give the same file."""
    figure.savefig(path, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def smooth(values, window):
    """Running mean over the last `window` values."""
    return [sum(values[max(0, i - window + 1):i + 1]) / (i + 1 - max(0, i - window + 1)) for i in range(len(values))]


def before_after(axes, shares, errors=None):
    """Two bars for each split: {split: (before, after)}, shares from 0 to 1; errors: {split: (low, high)} of after."""
    for i, (split, (before, after)) in enumerate(shares.items()):
        axes.bar(i - 0.2, before, 0.38, color=BEFORE, label="before" if i == 0 else None)
        axes.bar(i + 0.2, after, 0.38, color=AFTER, label="after" if i == 0 else None)
        low, high = (errors or {}).get(split, (after, after))
        if errors:
            axes.errorbar(i + 0.2, after, [[after - low], [high - after]], color=INK, capsize=3)
        axes.text(i - 0.2, before + 0.015, f"{before:.0%}", ha="center", fontsize=8)
        axes.text(i + 0.2, max(after, high) + 0.015, f"{after:.0%}", ha="center", fontsize=8)
    axes.set_xticks(range(len(shares)), [split.replace("_", "\n") for split in shares])
    axes.set_ylim(0, 1.12)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, fontsize=9)


def training(path, log, shares):
    """The loss over steps, and exact match before and after for each split (if there are any)."""
    with plt.rc_context(STYLE):
        widths = [4.5, max(4.5, 0.95 * len(shares))][:2 if shares else 1]
        figure, axes = plt.subplots(1, len(widths), figsize=(sum(widths), 3.4), width_ratios=widths, squeeze=False)
        loss, steps = axes[0, 0], [row["step"] for row in log]
        losses = [row["loss"] for row in log]
        loss.plot(steps, losses, color=BEFORE, linewidth=0.8)
        loss.plot(steps, smooth(losses, max(1, len(losses) // 25)), color=AFTER, linewidth=1.8)
        loss.set_yscale("log")
        loss.set(xlabel="step", title="Loss per supervised token")
        if shares:
            before_after(axes[0, 1], shares)
            axes[0, 1].set_title("Exact match on questions never trained on")
        figure.tight_layout()
        save(figure, path)


def grouped_bars(path, shares, names, title, label):
    """Bars in groups: {group: [share for each name]}."""
    colors = (BEFORE, ACCENT, AFTER) if len(names) == 3 else (AFTER, ACCENT)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8, 3.6))
        width = 0.8 / len(names)
        for k, name in enumerate(names):
            places = [i + (k - (len(names) - 1) / 2) * width for i in range(len(shares))]
            values = [group[k] for group in shares.values()]
            axes.bar(places, values, width * 0.94, color=colors[k], label=name)
            for place, value in zip(places, values):
                axes.text(place, value + 0.015, f"{value:.0%}", ha="center", fontsize=8)
        axes.set_xticks(range(len(shares)), [group.replace("_", " ") for group in shares])
        axes.set_ylim(0, 1.12)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        axes.set(title=title, ylabel=label)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=len(names), fontsize=9)
        save(figure, path)


def arms(path, panels, label):
    """A dot with its 95% interval for each arm: {title of a panel: {arm: (value, low, high)}}; shares, 0 to 1."""
    with plt.rc_context(STYLE):
        height = 1.2 + 0.32 * max(map(len, panels.values()))
        figure, axes = plt.subplots(1, len(panels), figsize=(4.4 * len(panels), height), squeeze=False)
        for panel, (title, each) in zip(axes[0], panels.items()):
            for i, (value, low, high) in enumerate(each.values()):
                panel.errorbar(value, -i, xerr=[[max(0, value - low)], [max(0, high - value)]], fmt="o", color=AFTER,
                               ecolor=INK, capsize=3)
                panel.annotate(f"{value:.1%}", (value, -i), xytext=(0, 6), textcoords="offset points", ha="center",
                               fontsize=8)
            panel.set_yticks([-i for i in range(len(each))], each)
            panel.set_ylim(-len(each) + 0.4, 0.7)
            panel.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6, steps=(1, 2, 5, 10)))
            panel.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
            panel.grid(axis="x", alpha=0.3)
            panel.margins(x=0.1)
            panel.set(title=title, xlabel=label)
        figure.tight_layout()
        save(figure, path)


def methods(path, each):
    """What methods reach and cost: {name: {"right": (value, low, high), "parameters": n, "step": ..., ...}}.

    step: time as a share of full tuning's; memory, file: bytes; forgotten: rise of the loss on held-out prose.
    """
    names = list(each)
    colors = [BEFORE, AFTER, "#3f9c6b", ACCENT, "#8d6ab8"]
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(11, 6.4), layout="constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=[1.25, 1])
        axes = top.subplots()
        for i, (name, color) in enumerate(zip(names, colors)):
            value, low, high = each[name]["right"]
            axes.errorbar(each[name]["parameters"], value, [[max(0, value - low)], [max(0, high - value)]], fmt="o",
                          color=color, ecolor=INK, capsize=3, markersize=8)
            axes.annotate(f"{name}: {value:.1%}", (each[name]["parameters"], value),
                          xytext=(9, (-14, 6)[i % 2]), textcoords="offset points")  # neighbors may be equally large
        axes.set_xscale("log")
        axes.set_xlim(right=6 * max(cost["parameters"] for cost in each.values()))
        axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
        axes.set(title="Right answers against trainable parameters", xlabel="trainable parameters",
                 ylabel="right answers")
        axes.grid(alpha=0.3)
        panels = (("Time of a step, full = 1", "step", 1, "{:.2f}"),
                  ("Memory of a step, MB", "memory", 1e-6, "{:,.0f}"),
                  ("File, kB", "file", 1e-3, "{:,.0f}"), ("Rise of the loss on prose", "forgotten", 1, "{:+.2f}"))
        for axes, (title, key, unit, form) in zip(bottom.subplots(1, 4), panels):
            values = [each[name][key] * unit for name in names]
            axes.barh(range(len(names)), values, color=colors)
            for i, value in enumerate(values):
                axes.annotate(form.format(value), (max(value, 0), i), xytext=(3, -3), textcoords="offset points",
                              fontsize=8)
            axes.set_yticks(range(len(names)), names if axes.get_subplotspec().is_first_col() else [""] * len(names))
            axes.invert_yaxis()
            axes.set_xlim(right=1.25 * max(max(values), 1e-9))
            axes.set_title(title)
        save(figure, path)


def comparison(path, shares, intervals, title):
    """Before and after for each split, with 95% intervals of after."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(max(6, 1.1 * len(shares)), 3.6))
        before_after(axes, shares, intervals)
        axes.set_title(title)
        save(figure, path)


def tokens(path, texts, flags, title, width=78):
    """A row of tokens in boxes, broken into lines; those with a flag are coloured."""
    with plt.rc_context(STYLE):
        lines, used = [[]], 0
        for text, flag in zip(texts, flags):
            text = text.replace("\n", "↵")
            if used + len(text) + 2 > width:
                lines.append([])
                used = 0
            lines[-1].append((used, text, flag))
            used += len(text) + 2
        figure, axes = plt.subplots(figsize=(9, 0.5 * len(lines) + 0.9))
        for row, line in enumerate(lines):
            for place, text, flag in line:
                axes.add_patch(plt.Rectangle((place, -row - 0.35), len(text) + 1.4, 0.7, linewidth=0,
                                             facecolor="#bfe3c0" if flag else "#eeeeee"))
                axes.text(place + (len(text) + 1.4) / 2, -row, text.strip(" "), ha="center", va="center", fontsize=9,
                          family="monospace", color="#0b3d12" if flag else "#777777")
        axes.set(xlim=(-0.5, width), ylim=(-len(lines) + 0.4, 0.6), title=title)
        axes.axis("off")
        figure.text(0.13, 0.02, "green: supervised, the model is asked for it        grey: given", fontsize=9)
        save(figure, path)


def corpus(path, counts, splits, lengths):
    """Rows of each task, split by split, and how long its conversations are.

    counts: {(split, task): rows}; lengths: {task: tokens of each conversation}.
    """
    tasks = list(lengths)[::-1]
    with plt.rc_context(STYLE):
        figure, (rows, spread) = plt.subplots(1, 2, figsize=(10, 0.26 * len(tasks) + 1.2), sharey=True)
        left = [0] * len(tasks)
        colors = [AFTER, *plt.cm.YlOrBr([0.15 + 0.8 * k / max(1, len(splits) - 2) for k in range(len(splits) - 1)])]
        for split, color in zip(splits, colors):
            widths = [counts.get((split, task), 0) for task in tasks]
            rows.barh(range(len(tasks)), widths, left=left, color=color, label=split.replace("_", " "))
            left = [a + b for a, b in zip(left, widths)]
        rows.set_yticks(range(len(tasks)), [task.replace("_", " ") for task in tasks], fontsize=8)
        rows.set(title="Rows", xlabel="conversations")
        rows.legend(fontsize=8, loc="upper center", bbox_to_anchor=(1.0, -0.08), ncols=5)
        spread.boxplot([lengths[task] for task in tasks], orientation="horizontal", positions=range(len(tasks)),
                       widths=0.6, showfliers=False, whis=(0, 100), medianprops={"color": ACCENT})
        spread.set_yticks(range(len(tasks)), [task.replace("_", " ") for task in tasks], fontsize=8)
        spread.set(title="Length: least, quartiles, most", xlabel="tokens in a conversation")
        figure.tight_layout()
        save(figure, path)


def over_training(path, probes):
    """The loss, and what a base model could do, step by step. probes: rows of step, loss and shares."""
    steps = [row["step"] for row in probes]
    names = {"recall": "recall of a text", "few_shot": "known skills, from 5 examples",
             "mapping": "made-up mapping, word seen", "sorting": "made-up sorting, word new (chance 50%)"}
    with plt.rc_context(STYLE):
        figure, (loss, shares) = plt.subplots(1, 2, figsize=(10, 3.6))
        loss.plot(steps, [row["loss"] for row in probes], color=AFTER, linewidth=1.6)
        loss.set(title="Loss per token", xlabel="step")
        loss.set_yscale("log")
        loss.set_yticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])
        loss.minorticks_off()
        for (name, label), color in zip(names.items(), (AFTER, ACCENT, INK, BEFORE)):
            shares.plot(steps, [row[name] for row in probes], color=color, linewidth=1.8, label=label)
        shares.axhline(0.5, color=BEFORE, linewidth=0.8, linestyle=":")
        shares.set(title="Right continuations", xlabel="step", ylim=(0, 1.02))
        shares.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        shares.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
        figure.tight_layout()
        save(figure, path)
