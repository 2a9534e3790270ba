#!/usr/bin/env python3
"""The results of tools/gpu_check.sh as one table: speed-*.json and steps.tsv of its folder.

    tools/gpu_check_table.py build-cuda/gpu-check
"""
import argparse
import json
import pathlib
import statistics

HEADER = ("case", "tokens/s", "ms", "of", "share", "of the", "GPU GB", "copy TB/s", "bf16 TFLOP/s")


def number(value, digits):
    return "-" if value is None else f"{value:,.{digits}f}"


def gpu_memory(line):
    """Bytes of the GPU at most, under whichever name the program reports them."""
    for key, value in line.items():
        if "peak" in key and key.endswith("_bytes") and ("gpu" in key or "device" in key):
            return value
    return None


def row(name, line):
    """One case: prompts against the peak of the arithmetic, decoding against the bytes that a step must move."""
    if "-prompt-" in name:
        speed = line["prompt_tokens_per_second"]
        milliseconds, unit = 1e3 * statistics.median(line["prompt_seconds"]), "a prompt"
        share, bound = line["prompt_share_of_peak"], f"{line['prompt_peak']} peak"
    else:
        speed = line["decode_tokens_per_second"]
        milliseconds, unit = 1e3 * statistics.median(line["decode_seconds"]) / line["gen"], "a step"
        share, bound = line["decode_share_of_bound"], "bound"
    memory = gpu_memory(line)
    return (name, number(speed, 1), number(milliseconds, 3), unit, f"{100 * share:.1f} %", bound,
            number(memory / 1e9 if memory else None, 1), number(line["machine_read_bytes_per_second"] / 1e12, 2),
            number(line["machine_bf16_flops_per_second"] / 1e12, 0))


def speed_rows(folder, steps):
    """The cases in the order in which they were measured."""
    rows = []
    for step in (name for name, *_ in steps if name.startswith("speed-")):
        name = step.removeprefix("speed-")
        try:
            rows.append(row(name, json.loads((folder / f"{step}.json").read_text())))
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
            rows.append((name, "no result"))
    return rows


def table(rows):
    full = [HEADER, *(r for r in rows if len(r) == len(HEADER))]
    widths = [max(len(r[i]) for r in full) for i in range(len(HEADER))]
    widths[0] = max(widths[0], *(len(r[0]) for r in rows))
    lines = []
    for cells in [HEADER, *rows]:
        left = (0, 3, 5) if len(cells) == len(HEADER) else range(len(cells))
        parts = [c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths))]
        lines.append("  ".join(parts).rstrip())
    return lines


def read_steps(folder):
    """[name, kind, result, seconds, remark] of every step."""
    path = folder / "steps.tsv"
    if not path.exists():
        return []
    steps = [line.split("\t") for line in path.read_text(errors="replace").splitlines()]
    return [step for step in steps if len(step) == 5]


def report(folder):
    lines = []
    machine = folder / "machine.txt"
    if machine.exists():
        lines += ["", *machine.read_text(errors="replace").splitlines()]
    steps = read_steps(folder)
    rows = speed_rows(folder, steps)
    if rows:
        title = "Bamba-9B's shape; copies count bytes read and written, both rates are of the same run"
        lines += ["", title, *table(rows)]
    done = [f"{name} {seconds} s" for name, _, result, seconds, _ in steps if result == "ok"]
    lines += ["", f"went well: {', '.join(done) or 'nothing'}"]
    for result in ("skipped", "stopped", "failed"):
        chosen = [step for step in steps if step[2] == result]
        lines += [f"{result}: {name} [{kind}]{', ' + remark if remark else ''}" for name, kind, _, _, remark in chosen]
    if not any(step[2] in ("stopped", "failed") for step in steps):
        lines.append("no step failed")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="what tools/gpu_check.sh --out named")
    print("\n".join(report(parser.parse_args().folder)))


if __name__ == "__main__":
    main()
