"""The losses' cases: python3 tests/reference/ops_loss.py"""
import torch
import torch.nn.functional as functional

from ops_common import Family, f, given, ints

F = Family("loss")
inf = float("inf")


def cross_entropy(x, target, weight=None, **options):
    return functional.cross_entropy(x, target if target.is_floating_point() else target.long(), weight, **options)


def nll(x, target, weight=None, **options):
    return functional.nll_loss(x, target.long(), weight, **options)


w = given([0.5, 2.0, 1.0, 0.25, 1.5], dtype="float")
for reduction in ("mean", "sum", "none"):
    for smoothing in (0.0, 0.1):
        more = {"reduction": reduction} | ({"label_smoothing": smoothing} if smoothing else {})
        F.case("cross_entropy", cross_entropy, [f(4, 5), ints(4, high=5)], **more)
        F.case("cross_entropy", cross_entropy, [f(5), ints(high=5)], **more)
        F.case("cross_entropy", cross_entropy, [f(2, 5, 3), ints(2, 3, high=5)], **more)
        F.case("cross_entropy", cross_entropy, [f(2, 3, 2, 2), ints(2, 2, 2, high=3, dtype="int32")], **more)
        F.case("cross_entropy", cross_entropy, [f(4, 5), given([1, -100, 4, 0], dtype="int64")], **more)
        F.case("cross_entropy", cross_entropy, [f(4, 5), given([1, 2, 4, 2], dtype="uint8")], ignore_index=2, **more)
        F.case("cross_entropy", cross_entropy, [f(4, 5), f(4, 5, low=0, high=1)], **more)
        F.case("cross_entropy", cross_entropy, [f(5), f(5, low=0, high=1)], **more)
        F.case("cross_entropy", cross_entropy, [f(2, 3, 4), f(2, 3, 4, low=0, high=1)], **more)
        # Weights are constants here: the tests give a gradient only where PyTorch's reference has one.
        F.case("cross_entropy_weighted", lambda x, t, w, **o: cross_entropy(x, t, w.detach(), **o), [f(4, 5), ints(4, high=5), w], **more)
        F.case("cross_entropy_weighted", lambda x, t, w, **o: cross_entropy(x, t, w.detach(), **o),
               [f(2, 5, 3), given([[1, -100, 0], [4, 2, -100]], dtype="int64"), w], **more)
        F.case("cross_entropy_weighted", lambda x, t, w, **o: cross_entropy(x, t, w.detach(), **o), [f(4, 5), f(4, 5, low=0, high=1), w], **more)
    F.case("nll_loss", nll, [f(4, 5), ints(4, high=5)], reduction=reduction)
    F.case("nll_loss", nll, [f(5), ints(high=5)], reduction=reduction)
    F.case("nll_loss", nll, [f(2, 5, 3), given([[1, -100, 0], [4, 2, -100]], dtype="int64")], reduction=reduction)
    F.case("nll_loss", nll, [f(4, 5), given([1, 2, 4, 2], dtype="int32")], ignore_index=2, reduction=reduction)
    F.case("nll_loss_weighted", lambda x, t, w, **o: nll(x, t, w.detach(), **o), [f(4, 5), given([1, -100, 4, 0], dtype="int64"), w],
           reduction=reduction)
    F.case("mse_loss", functional.mse_loss, [f(3, 4), f(3, 4)], reduction=reduction)
    F.case("mse_loss", functional.mse_loss, [f(), f()], reduction=reduction)
    F.case("mse_loss", functional.mse_loss, [f(0, 3), f(0, 3)], reduction=reduction, _gradcheck=False)
    # Rows far apart in size, and rows with entries, and all but one, masked to -inf.
    far = given([[1e4, -1e4, 0.0], [1e-3, 0.0, 2e-3], [-1e30, 1e30, 0.0], [88.0, 89.0, 90.0]])
    masked = given([[-inf, 1.0, 2.0], [0.0, -inf, -inf], [-inf, -inf, 5.0], [3.0, 1.0, -inf]])
    for x, name in ((far, "far"), (masked, "masked")):
        t = given([0, 2, 1, 0] if name == "far" else [1, 0, 2, 1], dtype="int64")
        F.case("cross_entropy", cross_entropy, [x, t], reduction=reduction, _gradcheck=False, _name=f"cross_entropy {name} {reduction}")
    F.case("cross_entropy", cross_entropy, [given([[-inf, -inf, -inf], [0.0, 1.0, 2.0]]), given([0, 2], dtype="int64")], reduction=reduction,
           _grads=False, _name=f"cross_entropy of a row of -inf {reduction}")
    F.case("cross_entropy", cross_entropy, [given([[-inf, 1.0, 2.0], [0.0, 1.0, 2.0]]), given([0, 2], dtype="int64")], reduction=reduction,
           _gradcheck=False, _name=f"cross_entropy of a masked target {reduction}")
F.case("cross_entropy", cross_entropy, [f(70, 300), ints(70, high=300)])
F.case("cross_entropy", cross_entropy, [f(6, 2500), ints(6, high=2500)], label_smoothing=0.2)
F.case("cross_entropy", cross_entropy, [f(3, 4), given([-100, -100, -100], dtype="int64")], _gradcheck=False, _grads=False)
F.case("cross_entropy", cross_entropy, [f(9, 20, dtype="bfloat16"), ints(9, high=20)])
F.case("cross_entropy", cross_entropy, [f(9, 20, dtype="float16"), ints(9, high=20)], reduction="sum")

# No rows at all: a mean of nothing is NaN.
for reduction in ("mean", "sum", "none"):
    F.case("cross_entropy", cross_entropy, [f(0, 3), ints(0, high=3)], reduction=reduction, _gradcheck=False)
    F.case("nll_loss", nll, [f(0, 3), ints(0, high=3)], reduction=reduction, _gradcheck=False)
F.case("cross_entropy", cross_entropy, [f(1, 1), ints(1, high=1)])
F.case("nll_loss", nll, [f(1, 1), ints(1, high=1)])
for dtype in ("float16", "bfloat16"):
    F.case("nll_loss", nll, [f(4, 5, dtype=dtype), ints(4, high=5)])
    F.case("mse_loss", functional.mse_loss, [f(3, 4, dtype=dtype), f(3, 4, seed=9, dtype=dtype)])

# ---- a prediction and a target of one shape

for reduction in ("mean", "sum", "none"):
    more = {"reduction": reduction}
    F.case("l1_loss", functional.l1_loss, [f(3, 4), f(3, 4)], **more)
    F.case("l1_loss", functional.l1_loss, [given([0.0, 1.0, -2.0]), given([0.0, 3.0, -1.0])], _gradcheck=False, **more)
    for beta in (0.0, 0.5, 1.0, 3.0):
        F.case("smooth_l1_loss", functional.smooth_l1_loss, [f(3, 4), f(3, 4)], beta=beta, **more)
    F.case("smooth_l1_loss", functional.smooth_l1_loss, [f(2, 2), f(2, 2)], **more)
    for delta in (0.25, 1.0, 2.5):
        F.case("huber_loss", functional.huber_loss, [f(3, 4), f(3, 4)], delta=delta, **more)
    F.case("huber_loss", functional.huber_loss, [f(2, 2), f(2, 2)], **more)
    # At the corner itself, and far out.
    for op, function in (("huber_loss", functional.huber_loss), ("smooth_l1_loss", functional.smooth_l1_loss)):
        F.case(op, function, [given([1.0, -1.0, 0.0, 1e30, -inf]), given([0.0, 0.0, 0.0, 0.0, 0.0])], _gradcheck=False, **more)

    p, t = f(3, 4, low=0.05, high=0.95), f(3, 4, low=0, high=1)
    F.case("binary_cross_entropy", functional.binary_cross_entropy, [p, t], **more)
    F.case("binary_cross_entropy_weighted", lambda x, t, w, **o: functional.binary_cross_entropy(x, t, w.detach(), **o),
           [p, t, f(3, 4, low=0.5, high=2)], **more)
    F.case("binary_cross_entropy_weighted", lambda x, t, w, **o: functional.binary_cross_entropy(x, t, w.detach(), **o),
           [p, t, f(4, low=0.5, high=2)], **more)
    # PyTorch's 1e-12 is a float; its slope for a target, not limited as the value is, is infinite at 0.
    F.case("binary_cross_entropy_constant", lambda x, t, **o: functional.binary_cross_entropy(x, t.detach(), **o),
           [given([0.0, 0.0, 1.0, 1.0, 1e-30, 0.0]), given([0.0, 1.0, 1.0, 0.0, 0.0, 0.5])], _gradcheck=False, _rtol64=1e-8, **more)

    logits, with_logits = "binary_cross_entropy_with_logits", functional.binary_cross_entropy_with_logits
    F.case(logits, with_logits, [f(3, 4), t], **more)
    F.case(logits, with_logits, [given([1e4, -1e4, 1e4, -1e4, 88.0, -88.0, 0.0, 1e30]), given([1, 0, 0, 1, 0.5, 0.25, 1, 0])],
           _gradcheck=False, **more)
    F.case(logits + "_weighted", lambda x, t, w, **o: with_logits(x, t, w.detach(), **o), [f(3, 4), t, f(3, 1, low=0.5, high=2)], **more)
    F.case(logits + "_pos", lambda x, t, p, **o: with_logits(x, t, pos_weight=p.detach(), **o), [f(3, 4), t, f(4, low=0.5, high=3)], **more)
    F.case(logits + "_both", lambda x, t, w, p, **o: with_logits(x, t, w.detach(), pos_weight=p.detach(), **o),
           [f(3, 4), t, f(4, low=0.5, high=2), f(4, low=0.5, high=3)], **more)
    F.case(logits + "_pos", lambda x, t, p, **o: with_logits(x, t, pos_weight=p.detach(), **o),
           [given([1e4, -1e4, 300.0, -300.0]), given([1, 0, 0, 1]), given([3.0])], _gradcheck=False, **more)

    one, zero = given([1, -1, 1, -1], dtype="int64"), given([1, 0, -1, 0], dtype="int64")
    for margin in (0.0, -0.5, 0.3):
        F.case("cosine_embedding_loss", lambda a, b, t, **o: functional.cosine_embedding_loss(a, b, t, **o),
               [f(4, 5), f(4, 5, seed=5), one], margin=margin, **more)
    F.case("cosine_embedding_loss", functional.cosine_embedding_loss, [f(4, 5), f(4, 5, seed=5), zero], **more)
    F.case("cosine_embedding_loss", functional.cosine_embedding_loss, [f(5), f(5), given(-1, dtype="int64")], **more)
    F.case("cosine_embedding_loss", functional.cosine_embedding_loss,
           [given([[0.0, 0.0], [1.0, 2.0]]), given([[1.0, 1.0], [0.0, 0.0]]), given([1, -1], dtype="int64")], _gradcheck=False, _rtol64=1e-8, **more)
for reduction in ("mean", "sum", "none", "batchmean"):
    more = {"reduction": reduction}
    log_p, q = f(3, 4, low=-4, high=-0.5), f(3, 4, low=0.05, high=1)
    F.case("kl_div", functional.kl_div, [log_p, q], **more)
    F.case("kl_div", functional.kl_div, [log_p, f(3, 4, low=-4, high=-0.5, seed=3)], log_target=True, **more)
    F.case("kl_div_constant", lambda x, t, **o: functional.kl_div(x, t.detach(), **o),
           [given([[-1.0, -2.0, -1e4], [-0.5, -1e30, -3.0]]), given([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])], **more, _gradcheck=False)
    F.case("kl_div", functional.kl_div, [f(0, 4), f(0, 4)], _gradcheck=False, **more)

F.case("cosine_similarity", functional.cosine_similarity, [f(3, 4), f(3, 4)])
F.case("cosine_similarity", functional.cosine_similarity, [f(3, 4), f(3, 4)], dim=0)
F.case("cosine_similarity", functional.cosine_similarity, [f(2, 3, 4), f(3, 1)], dim=-1, _rtol32=1e-4)
F.case("cosine_similarity", functional.cosine_similarity, [f(2, 3, 4), f(4)], dim=2)
F.case("cosine_similarity", functional.cosine_similarity, [f(2, 1, 4), f(2, 3, 1)], dim=-2)
F.case("cosine_similarity", functional.cosine_similarity, [f(3, 4), f(3, 4)], eps=2.0, _gradcheck=False, _grads=False)
F.case("cosine_similarity", functional.cosine_similarity, [given([[0.0, 0.0], [3.0, 4.0]]), given([[1.0, 2.0], [0.0, 0.0]])], _gradcheck=False)
F.case("cosine_similarity", functional.cosine_similarity, [f(0, 4), f(0, 4)], _gradcheck=False)
F.case("cosine_similarity", functional.cosine_similarity, [f(4, 0), f(4, 0)], _gradcheck=False)
F.case("cosine_similarity", functional.cosine_similarity, [f(5), f(5)], dim=0)

# Of one number, of none, of 16 bits.
pairs = {"l1_loss": functional.l1_loss, "smooth_l1_loss": functional.smooth_l1_loss, "huber_loss": functional.huber_loss,
         "binary_cross_entropy": functional.binary_cross_entropy, logits: with_logits}
for op, function in pairs.items():
    low = 0.05 if op == "binary_cross_entropy" else -2
    for reduction in ("mean", "sum", "none"):
        F.case(op, function, [f(0, 3, low=low, high=0.95), f(0, 3, low=0, high=1)], reduction=reduction, _gradcheck=False)
    F.case(op, function, [f(low=low, high=0.95), f(low=0, high=1)])
    F.case(op, function, [f(3, 4, low=low, high=0.95, dtype="bfloat16"), f(3, 4, low=0, high=1, seed=9, dtype="bfloat16")])

# ---- CTC, through log_softmax: PyTorch's gradient of log_probs alone has a term that this one takes away


def ctc(x, targets, input_lengths, target_lengths, **options):
    return functional.ctc_loss(functional.log_softmax(x, -1), targets, input_lengths, target_lengths, **options)


def lengths(*values):
    return given(values if len(values) > 1 else values[0], dtype="int64")


padded = given([[1, 2, 2, 3], [4, 1, 9, -5], [3, 3, 3, 1]], dtype="int64")
row = given([1, 2, 2, 3, 4, 1, 3, 3, 3], dtype="int64")
for reduction in ("mean", "sum", "none"):
    more = {"reduction": reduction, "_second": False}
    F.case("ctc_loss", ctc, [f(8, 3, 5), padded, lengths(8, 6, 7), lengths(4, 2, 3)], **more)
    F.case("ctc_loss", ctc, [f(8, 3, 5), row, lengths(8, 6, 7), lengths(4, 2, 3)], **more)
    F.case("ctc_loss", ctc, [f(6, 5), given([2, 2, 1], dtype="int32"), lengths(6), lengths(3)], **more)
    F.case("ctc_loss", ctc, [f(6, 2, 5), given([[2, 3], [0, 1]], dtype="int64"), lengths(6, 5), lengths(2, 1)], blank=4, **more)
    F.case("ctc_loss", ctc, [f(4, 2, 3), given([[1, 2], [1, 1]], dtype="int64"), lengths(4, 4), lengths(0, 2)], **more)
    # Targets that no alignment gives, and that just one does.
    for zero in (False, True):
        F.case("ctc_loss", ctc, [f(4, 3, 3), given([[1, 1, 1], [1, 2, 1], [2, 2, 1]], dtype="int64"), lengths(4, 3, 4), lengths(3, 3, 3)],
               zero_infinity=zero, _gradcheck=False, **more)
    F.case("ctc_loss", ctc, [f(5, 2, 3, low=-300, high=300), given([[1, 2], [2, 2]], dtype="int64"), lengths(5, 5), lengths(2, 2)],
           _gradcheck=False, **more)
F.case("ctc_loss", ctc, [f(70, 4, 12, low=-4, high=4), ints(4, 20, low=1, high=12), lengths(70, 61, 50, 66), lengths(20, 12, 17, 1)], _second=False)
F.case("ctc_loss", ctc, [f(1, 1, 2), given([[1]], dtype="int64"), given([1], dtype="int64"), given([1], dtype="int64")], _second=False)
F.case("ctc_loss", ctc, [f(3, 2, 4), given([[1], [2]], dtype="int64"), lengths(0, 3), lengths(0, 1)], _second=False)

F.write()
