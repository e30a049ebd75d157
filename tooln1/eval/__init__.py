"""Evaluation on benchmarks and on held-out rows: `tooln1 eval` and `tooln1 compare`.

The folder of an evaluation holds

    responses.jsonl every response as it arrived; an interrupted run resumes here. The first line holds the settings
    results.jsonl   one line a case and repeat: {"benchmark", "id", "repeat", "category", "correct", "error", "detail",
                    "response", "calls", "ground_truth", "finish_reason"}; "correct" is null without a response. A
                    conversation of several turns has its last response here, and "transcript"
    summary.json    see below
    summary.md      the same to read, beside the paper's figures, with examples of each kind of mistake

and summary.json is

    {"model", "created": ISO 8601, "settings": {…},
     "benchmarks": {name: {
         "categories": {name: {"accuracy", "correct", "scored", "unanswered", "interval": [low, high]}},
         "groups": {name: accuracy}, "accuracy", "intervals": {group: [low, high]},
         "repeats": null or {"count", "intervals": {name: [low, high]}, "pass": {name: [pass^1, pass^2, …]}},
         "errors": {kind: count}, "truncated": count,
         "impossible": [{"id", "reason"}], "unanswered": [{"id", "reason"}]}},
     "published": [{"model", "benchmark", "group", "accuracy", "source"}]}

Accuracies are fractions from 0 to 1 over the responses ("scored"); null if there is none. The intervals are for 95 %
(`tooln1.eval.certainty`): for other cases of the same kind, and in `repeats` for the same cases asked again. `groups`
are the averages that the benchmark or the paper reports, `accuracy` is the headline one.
The kinds of error are those of `tooln1.eval.benchmark.MISTAKES`.
"""
