"""Evaluation on BFCL, API-Bank and ACEBench: `tooln1 eval` and `tooln1 compare`.

A run's folder holds

    replies.jsonl   every reply as it came; a run goes on here. The first line holds the settings that replies depend on
    results.jsonl   one line a case: {"benchmark", "id", "category", "correct", "error", "detail", "reply", "calls",
                    "reference", "finish_reason"}; "correct" is null where there is no reply.
    summary.json    see below
    summary.md      the same to read, beside the paper's figures, with examples of each kind of error

and summary.json is

    {"model", "created": ISO 8601, "settings": {…},
     "benchmarks": {name: {
         "categories": {name: {"accuracy", "correct", "scored", "unanswered", "interval": [low, high]}},
         "groups": {name: accuracy}, "accuracy",
         "errors": {kind: count}, "truncated": count,
         "impossible": [{"id", "reason"}], "unanswered": [{"id", "reason"}]}},
     "reference": [{"model", "benchmark", "group", "accuracy", "source"}]}

Accuracies are shares from 0 to 1, over the cases that were answered ("scored"); null where there is none to give. The
interval is Wilson's for 95 %. `groups` are the averages that the benchmark or the paper reports, `accuracy` is the
headline one. The kinds of error are those of `tooln1.eval.cases.ERRORS`.
"""
