"""examples/autodiff1d.c on PyTorch: the same function, start and steps, and the same table."""
import torch


def by_hand(x):
    return 2 * (x - 7) / ((x - 7) ** 2 + 6)


x = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
opt = torch.optim.SGD([x], lr=1.5)
apart = 0.0
print("step         x      f(x)   backward    by hand")
for step in range(21):
    f = torch.log(torch.square(x - 7) + 6)
    opt.zero_grad()
    f.backward()
    at, gradient = x.item(), x.grad.item()
    print(f"{step:4d}  {at:8.5f}  {f.item():8.5f}  {gradient:9.6f}  {by_hand(at):9.6f}")
    apart = max(apart, abs(gradient - by_hand(at)))
    opt.step()
print(f"the two gradients differ by {apart:.1e} at most")
