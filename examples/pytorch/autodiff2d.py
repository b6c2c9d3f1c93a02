"""examples/autodiff2d.c on PyTorch: the same function, start and steps, and the same table."""
import torch

a = torch.tensor([[3.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
b = torch.tensor([-1.0, 1.0], dtype=torch.float64)


def quadratic(x):
    return 0.5 * (x @ a * x).sum(-1) + x @ b


x = torch.tensor([-2.5, 2.5], dtype=torch.float64, requires_grad=True)
opt = torch.optim.SGD([x], lr=0.1)
print("step        x1        x2       f(x)")
for step in range(31):
    f = quadratic(x)
    opt.zero_grad()
    f.backward()
    x1, x2 = x.tolist()
    print(f"{step:4d}  {x1:8.5f}  {x2:8.5f}  {f.item():9.6f}")
    opt.step()
print("the lowest point is (0.6, -0.8), where f is -0.7")
