"""A learning-rate schedule: warm up, stay, decay (WSD).

    warm-up   eta(s) = eta_max (s + 1) / W                    s < W
    stable    eta(s) = eta_max                                W <= s < S - D
    decay     linear from eta_max at step S - D to eta_min at step S, where it stays

s: the step, 0, 1, 2, ...; S: number of steps (`total`); W: steps of warm-up; D: steps of decay;
eta_max: `peak`; eta_min: `floor`.

Write `wsd`, which returns a function from the step to the learning rate. Warm-up and decay that do
not fit into the steps are refused with ValueError. `_check` looks at the single values.
"""

from lessons.checking.exercise import Exercise, Mistake, Variant

WSD = "minisft.optim.schedule:wsd"
RATES = "[lr(step) for step in range(total + 4)] with lr = wsd(...)"


def cases(rng):
    """All phases, with and without a floor, past the end; without warm-up; without decay."""
    def case(warmup, stable, decay, floor=0.0):
        peak = rng.uniform(1, 3)
        return {"peak": peak, "total": warmup + stable + decay, "warmup": warmup, "decay": decay,
                "floor": peak * floor}

    def n(least):
        return rng.randint(least, least + 2)

    return [case(n(2), n(1), n(3)), case(n(3), n(2), n(3), rng.uniform(0.05, 0.3)),
            case(0, n(2), n(3), rng.uniform(0.05, 0.3)), case(n(2), n(2), 0, 0.1),
            case(n(2), 0, n(3), 0.2), case(n(4), -2, n(4), 0.1)]


def run(code, peak, total, warmup, decay, floor):
    try:
        lr = code.wsd(peak, total, warmup=warmup, decay=decay, floor=floor)
    except ValueError:
        return {RATES: "ValueError"}
    return {RATES: [float(lr(step)) for step in range(total + 4)]}


def oracle(peak, total, warmup, decay, floor):
    """A table, phase after phase."""
    if warmup + decay > total:
        return {RATES: "ValueError"}
    up = [peak / warmup * step for step in range(1, warmup + 1)]
    down = [peak - (peak - floor) / decay * step for step in range(decay)]
    return {RATES: up + [peak] * (total - warmup - decay) + down + [floor] * 4}


UP, STAY = "return peak * (step + 1) / warmup", "if step < total - decay:"
LEFT = "left = max(0, total - step) / max(1, decay)"
DOWN = "return floor + (peak - floor) * left"

EXERCISE = Exercise(
    name="schedule", doc=__doc__, targets=(WSD,), minutes=15,
    read="Hu et al. 2024 (MiniCPM), section 4",
    call="lr = wsd(peak, total, warmup, decay, floor); [lr(step) for step in range(total + 4)]",
    cases=cases, run=run, oracle=oracle, imports=("import math",),
    question="A rate of 0 at the first step wastes it. What should the rate be at step 0 of a "
             "warm-up of 4 steps, and at step 3?",
    pseudocode="""
        check the values; refuse warmup + decay > total
        lr(step):
            in the warm-up: the peak times (step + 1) / W
            before the decay begins: the peak
            else: the share of the decay that is left, never below 0, between floor and peak
    """,
    mistakes=(
        Mistake("zero at the first step", "The warm-up starts at 0, so the first step does "
                "nothing; it is (s + 1) / W.", (UP, "return peak * step / warmup")),
        Mistake("warm-up never reaches the peak", "The warm-up is divided by W + 1, so its last "
                "step is below the peak.", (UP, "return peak * (step + 1) / (warmup + 1)")),
        Mistake("warm-up starts at the floor", "The warm-up climbs from the floor; it climbs from "
                "0.", (UP, "return floor + (peak - floor) * (step + 1) / warmup")),
        Mistake("no warm-up", "There is no warm-up.", (UP, "return peak")),
        Mistake("cosine", "The decay follows a cosine; it is linear.",
                (DOWN, "return floor + (peak - floor) * (1 - math.cos(math.pi * left)) / 2")),
        Mistake("exponential", "The decay is exponential; here it is linear.",
                (DOWN, "return floor + (peak - floor) * (left and 0.01 ** (1 - left))")),
        Mistake("decays from the start", "The decay begins right after the warm-up; the rate must "
                "stay at its peak until step S - D.",
                (STAY, "if step < warmup:"),
                (LEFT, "left = max(0, total - step) / max(1, total - warmup)")),
        Mistake("decay one step late", "The decay begins one step too late and ends one step too "
                "late.", (STAY, "if step <= total - decay:"),
                (LEFT, "left = max(0, total + 1 - step) / max(1, decay)")),
        Mistake("floor one step early", "The decay reaches the floor one step too early.",
                (LEFT, "left = max(0, total - 1 - step) / max(1, decay)")),
        Mistake("never at the floor", "The decay is divided by D + 1, so it jumps at its start or "
                "does not reach the floor.",
                (LEFT, "left = max(0, total + 1 - step) / (decay + 1) if step <= total else 0")),
        Mistake("no floor", "The decay goes to 0; it goes to the floor.", (DOWN, "return peak * "
                                                                                "left")),
        Mistake("floor cuts the decay", "The decay goes towards 0 and is cut off at the floor, so "
                "it is too steep; it is a line from the peak to the floor.",
                (DOWN, "return max(floor, peak * left)")),
        Mistake("floor added", "The floor is added to a whole decay, so it starts above the peak.",
                (DOWN, "return floor + peak * left")),
        Mistake("zero after the end", "After the last step the rate is 0; it stays at the floor.",
                ("    def lr(step):\n", "    def lr(step):\n        if step >= total:\n"
                                        "            return 0.0\n")),
        Mistake("below the floor", "After the last step the rate goes on falling, below the floor.",
                (LEFT, "left = (total - step) / max(1, decay)")),
        Mistake("no decay", "The rate stays at its peak to the end.",
                (STAY, "if step < total:")),
        Mistake("misfit accepted", "Warm-up and decay that do not fit into the steps are not "
                "refused; raise ValueError.", ("if warmup + decay > total:", "if False:")),
    ),
    variants=(
        Variant("the smallest of three lines", "No branches: the schedule is the lower one of two "
                "ramps and the peak. Shorter, and harder to read.", {WSD: """
            _check(peak, floor, total=total, warmup=warmup, decay=decay)
            if warmup + decay > total:
                raise ValueError("warm-up and decay do not fit into the steps")

            def lr(step):
                up = peak * (step + 1) / warmup if warmup else peak
                left = max(0, total - step) / decay if decay else float(step < total)
                return min(up, peak, floor + (peak - floor) * left)

            return lr
            """}),
        Variant("a table", "All rates are made beforehand and looked up; takes memory for each "
                "step.", {WSD: """
            _check(peak, floor, total=total, warmup=warmup, decay=decay)
            if warmup + decay > total:
                raise ValueError("warm-up and decay do not fit into the steps")
            rates = [peak * s / warmup for s in range(1, warmup + 1)]
            rates += [peak] * (total - warmup - decay)
            rates += [peak + (floor - peak) * s / decay for s in range(decay)]
            return lambda step: rates[step] if step < total else floor
            """}),
        Variant("between two points", "Decay as a mean of both ends, weighted by how much of it is "
                "done.", {WSD: """
            _check(peak, floor, total=total, warmup=warmup, decay=decay)
            if warmup + decay > total:
                raise ValueError("warm-up and decay do not fit into the steps")

            def lr(step):
                if step >= total:
                    return floor
                done = max(0.0, (step - (total - decay)) / decay) if decay else 0.0
                return min(1.0, (step + 1) / max(1, warmup)) * (peak * (1 - done) + floor * done)

            return lr
            """}),
    ),
)
