#!/usr/bin/env python3
"""machines.py: how long mpi_compress takes with many machines, simulated from measured rates.

    python3 bench/machines.py [--rows N] [--dim N] [--machines 1,10,100] [--sample N] [--threads N] ...

Every step of examples/mpi_compress.c in its order, each rank with its own clock: a step ends for all when the last one
has ended, and rank 0 receives images one after the other. Rates of a thread are those that `sh bench/run.sh rates` has
measured, unless options say others; those of disk and network are assumed. The standard library is enough."""
import argparse
import pathlib


def simulate(o, ranks, sample):
    """Seconds of each step; `sample` rows are learnt from, all of them where that is the table."""
    row = 4 * o.dim
    own = o.rows / ranks
    steps = {}

    def reading(rows, passes, rate):  # the disk or all threads, whichever is slower
        return max(passes * rows * row / o.disk, rows / (rate * o.threads * o.gain))

    # extent, moments, centroids, classes: rank 0 alone. A sampled row costs a whole read of the disk.
    if sample < o.rows:
        steps["draw"] = sample * o.seek
        steps["learn"] = o.fixed + sample / (o.learn * o.threads * o.gain)
        steps["count"] = reading(own, 1, o.count)
    else:
        steps["draw"] = 0.0
        steps["learn"] = o.fixed + reading(o.rows, 4, o.learn)
        steps["count"] = 0.0
    hops = max(ranks - 1, 0).bit_length()
    steps["send"] = hops * (o.latency + o.shared / o.network) + (2 * hops * (o.latency + 65536 / o.network) if sample < o.rows else 0)
    steps["encode"] = reading(own, 1, o.encode)
    # clocks of the receiver: images arrive one by one, then one copy of all, its checksum and the file
    image = o.rows * row / o.ratio
    clock = 0.0
    for _ in range(ranks - 1):
        clock += o.latency + (image / ranks + o.shared) / o.network
    steps["gather"] = clock
    steps["merge, write"] = image / o.merge + image / o.disk
    return steps, image


def measured():
    lines = (pathlib.Path(__file__).parent / "results" / "rates.csv").read_text().splitlines()[2:]
    return {name: float(value) for name, value in (line.split(",") for line in lines)}


def main():
    rates = measured()
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value, text in (
            ("rows", 1e8, "of the table"), ("dim", 128, "numbers a row"), ("ratio", 8, "times smaller"),
            ("threads", 16, "of a machine"), ("gain", 0.9, "of a thread among many"),
            ("sample", 1e6, "rows to learn from"),
            ("learn", rates["learn"], "rows a second and thread, all passes of training"),
            ("count", rates["count"], "rows a second and thread, tte_count"),
            ("encode", rates["encode"], "rows a second and thread, the trellis search"),
            ("fixed", rates["fixed"], "seconds of training that do not depend on rows"),
            ("shared", rates["shared"], "bytes of an image of no rows"),
            ("merge", rates["merge"], "bytes a second, tte_merge and checksums"),
            ("disk", 1e9, "bytes a second, of each machine (assumed)"), ("seek", 1e-4, "seconds a sampled row (assumed)"),
            ("network", 1.25e9, "bytes a second (assumed)"), ("latency", 5e-5, "seconds (assumed)")):
        p.add_argument("--" + name, type=float, default=value, help=f"{text}; default {value:g}")
    p.add_argument("--machines", default="1,2,10,30,100,300,1000", help="default 1,2,10,30,100,300,1000")
    o = p.parse_args()
    for sample in (o.rows, o.sample):
        print(f"{o.rows:.0f} x {o.dim:.0f}, learnt from {'all rows' if sample == o.rows else f'{sample:.0f} rows'}, seconds\n")
        first = None
        for ranks in map(int, o.machines.split(",")):
            steps, image = simulate(o, ranks, sample)
            total = sum(steps.values())
            if first is None:
                first = total
                print("| machines | " + " | ".join(steps) + " | all | gain | GB at rank 0 |")
                print("|---:" * (len(steps) + 4) + "|")
            held = (2 * image + (image / ranks if ranks > 1 else 0)) / 1e9
            print(f"| {ranks} | " + " | ".join(f"{x:.1f}" for x in steps.values())
                  + f" | {total:.1f} | {first / total:.1f} | {held:.1f} |")
        print()


if __name__ == "__main__":
    main()
