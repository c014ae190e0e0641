"""The rows of `peers.json`, and the same as Markdown and as a picture.

A row holds our median against one peer's: `same precision` against each configuration of our precision, `any precision` against the best
of all. A ratio above 1 means that ours is ahead, whether the figure is a rate or a time.
"""
import html
import math
import statistics


def rows(works, by_group, found, machine, said):
    cases = [case for group in by_group.values() for case in group]
    told = f"{machine['processor']}, {' '.join(machine['instruction_sets'])}"
    made = []
    for work, about in works.items():
        ours = [(case, figure(found.get(case.name, []), work)) for case in cases if case.peer == "ours" and answers(case, work)]
        theirs = [(case, figure(found.get(case.name, []), work)) for case in cases if case.peer != "ours" and answers(case, work)]
        for case, (value, why) in ours:
            if case.precision not in about.precisions:
                continue
            same = [(other, seen) for other, seen in theirs if other.precision == case.precision]
            able = [(other, seen) for other, seen in theirs if seen[0] is not None]
            best = sorted(able, key=lambda pair: pair[1][0], reverse=about.is_rate)[:1]
            for against, others in (("same precision", same), ("any precision", best)):
                for other, (their_value, their_why) in others:
                    made.append(dict(
                        work=about.title, precision=case.configuration, against=against, peer=f"{other.peer} {other.configuration}", ours=value,
                        theirs=their_value, unit=about.unit, ratio=ratio(value, their_value, about.is_rate), why_none=why or their_why,
                        machine=told, command=" ".join(said(word) for word in case.command),
                        peer_command=" ".join(said(word) for word in other.command)))
    return made


def answers(case, work):
    """Whether a case says something of a work: `text-mid` of prefill-mid and the like."""
    group, _, shape = case.group.partition("-")
    if group == "text":
        return work in (f"{name}-{shape}" for name in ("prefill", "decode", "load", "memory"))
    return work in dict(image=("image",), denoiser=("step",), vae=("vae",), plan=("plan",), busy=("busy-prefill", "busy-decode"))[group]


def figure(turns, work):
    """The median over the rounds; none, and why, if one of them failed."""
    failed = [turn["failed"] for turn in turns if "failed" in turn] or ["not measured"] * (not turns)
    if failed:
        return None, failed[0]
    return statistics.median(turn[work] for turn in turns), None


def ratio(ours, theirs, is_rate):
    if ours is None or theirs is None:
        return None
    return ours / theirs if is_rate else theirs / ours


def number(value):
    if value is None:
        return "–"
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{digits}f}"


def markdown(report):
    """One line for each work and precision of ours; under it what failed, with the reason."""
    machine = report["machine"]
    lines = [
        f"{machine['processor']} (family {machine['family']}, model {machine['model']}; {' '.join(machine['instruction_sets'])}), "
        f"medians of {report['rounds']} rounds; in brackets how many times ours is ahead:", "",
        "| work | ours | same precision | best of any precision |", "| --- | --- | --- | --- |"]
    failed = {}
    for (work, precision), group in grouped(report["rows"]).items():
        same = [row for row in group if row["against"] == "same precision"]
        best = [row for row in group if row["against"] == "any precision"]
        for row in same:
            if row["ours"] is None:
                failed.setdefault(("ours", row["why_none"]), []).append(f"{work} in {precision}")
            elif row["theirs"] is None:
                failed.setdefault((row["peer"], row["why_none"]), []).append(work)
        ours = next((row["ours"] for row in group), None)
        unit = group[0]["unit"]
        cells = ["; ".join(cell(row) for row in rows_) or "–" for rows_ in (same, best)]
        lines.append(f"| {work} | {precision} {number(ours)} {unit} | {' | '.join(cells)} |")
    lines += [""] + [f"{peer}, {'; '.join(dict.fromkeys(works))}: {why}." for (peer, why), works in failed.items()]
    return "\n".join(lines).rstrip()


def grouped(rows_):
    groups = {}
    for row in rows_:
        groups.setdefault((row["work"], row["precision"]), []).append(row)
    return groups


def cell(row):
    return f"{row['peer']} {number(row['theirs'])} ({number(row['ratio'])})"


def plot(report):
    """Ratios as bars on a logarithmic scale, against the best of any precision."""
    bars = [row for row in report["rows"] if row["against"] == "any precision" and row["ratio"]]
    left, width, line = 520, 420, 22
    reach = max([2.0, *(max(row["ratio"], 1 / row["ratio"]) for row in bars)])
    at = lambda value: left + width / 2 * (1 + math.log(value) / math.log(reach))
    height = line * (len(bars) + 2)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 60} {height}" font-family="sans-serif" font-size="12">',
             f'<rect width="100%" height="100%" fill="white"/><text x="8" y="15">Ours against the best peer of any precision: right of the line is ahead</text>']
    for i, row in enumerate(bars):
        y, x, one = line * (i + 1) + 4, at(row["ratio"]), at(1)
        name = html.escape(f"{row['work']}, {row['precision']}"[:90])
        parts.append(f'<text x="8" y="{y + 13}" font-size="11">{name}</text><rect x="{min(x, one):.1f}" y="{y}" width="{max(abs(x - one), 1):.1f}" '
                     f'height="{line - 6}" fill="{"#2a7" if 1 <= row["ratio"] else "#b53"}"><title>{html.escape(row["peer"])}</title></rect>'
                     f'<text x="{max(x, one) + 4:.1f}" y="{y + 13}" font-size="11">{number(row["ratio"])}</text>')
    parts.append(f'<line x1="{at(1):.1f}" x2="{at(1):.1f}" y1="{line}" y2="{height}" stroke="black"/></svg>')
    return "\n".join(parts) + "\n"
