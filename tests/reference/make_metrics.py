"""Writes metrics.h: what the metrics' definitions give, item by item, without a confusion matrix: python3 tests/reference/make_metrics.py"""
import os
import random

import numpy as np

random.seed(4)
CLASSES, N, IGNORED = 5, 60, -100
target = [random.choice([0, 0, 0, 1, 2, 4]) for _ in range(N)]  # class 3 is no target, and class 4 is never found
found = [t if random.random() < 0.6 and t != 4 else random.choice([0, 1, 2, 3]) for t in target]
target = [IGNORED if i % 11 == 5 else t for i, t in enumerate(target)]
pairs = [(t, p) for t, p in zip(target, found) if t != IGNORED]
t, p = np.array(pairs).T


def ratio(a, b):
    return a / b if b else 0.0


precision = [ratio(sum(p[t == k] == k), sum(p == k)) for k in range(CLASSES)]
recall = [ratio(sum(p[t == k] == k), sum(t == k)) for k in range(CLASSES)]
f1 = [ratio(2 * a * b, a + b) for a, b in zip(precision, recall)]
occurs = [k for k in range(CLASSES) if (t == k).any() or (p == k).any()]


def matthews(t, p):
    """The correlation of the one-hot matrices (Gorodkin 2004, equation 8)."""
    x, y = (np.eye(CLASSES)[v] - np.eye(CLASSES)[v].mean(0) for v in (t, p))
    return (x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum())


logits = np.round(np.random.default_rng(4).normal(size=(6, CLASSES)) * 2, 3)
words = [1, 4, IGNORED, 0, 2, 2]
kept = [i for i, w in enumerate(words) if w != IGNORED]
softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
perplexity = np.prod([softmax[i, words[i]] for i in kept]) ** (-1 / len(kept))
confusion = [sum(a == i and b == j for a, b in pairs) for i in range(CLASSES) for j in range(CLASSES)]


def row(name, values, kind="double"):
    return "static const %s %s[] = {%s};\n" % (kind, name, ", ".join(repr(v) if kind == "int64_t" else repr(float(v)) for v in values))


with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "metrics.h"), "w") as file:
    file.write("/* Written by make_metrics.py.  clang-format off */\n#include <stdint.h>\n")
    file.write("enum { CLASSES = %d, N = %d, WORDS = %d };\n" % (CLASSES, N, len(words)))
    file.write(row("target_of", target, "int64_t") + row("found_of", found, "int64_t") + row("confusion_due", [int(c) for c in confusion]))
    file.write(row("precision_due", precision) + row("recall_due", recall) + row("f1_due", f1))
    file.write(row("macro_due", [np.mean([v[k] for k in occurs]) for v in (precision, recall, f1)]))
    file.write(row("accuracy_due", [(t == p).mean()]))
    file.write(row("matthews_due", [matthews(t, p), matthews((t == 0) * 1, (p == 0) * 1)]))
    file.write(row("logits_of", logits.ravel()) + row("words_of", words, "int64_t") + row("perplexity_due", [perplexity]))
