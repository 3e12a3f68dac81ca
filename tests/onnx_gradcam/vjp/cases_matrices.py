"""Products of matrices."""

import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from torch import Tensor

from tests.onnx_gradcam.vjp.case import Case, Sample, generators, numbers

sizes = st.integers(1, 4)
factors = st.sampled_from([0.5, 1.5, -2.0])


@st.composite
def products(draw: st.DrawFn) -> Sample:
    """Matrices, and stacks of them that broadcast."""
    rows, inner, columns = draw(sizes), draw(sizes), draw(sizes)
    left, right = draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=3)).input_shapes
    rng = draw(generators())
    free = {0} if len(left) > len(right) and draw(st.booleans()) else ()
    a, b = numbers(rng, *left, rows, inner), numbers(rng, *right, inner, columns)
    return Sample([a, b], by=(0,) if free else (0, 1), free=free)


@st.composite
def gemms(draw: st.DrawFn) -> Sample:
    rows, inner, columns = draw(sizes), draw(sizes), draw(sizes)
    flags = st.sampled_from([0, 1])
    attributes = {"transA": flags, "transB": flags, "alpha": factors, "beta": factors}
    given = draw(st.fixed_dictionaries({}, optional=attributes))
    rng = draw(generators())
    a = numbers(rng, *((inner, rows) if given.get("transA") else (rows, inner)))
    b = numbers(rng, *((columns, inner) if given.get("transB") else (inner, columns)))
    bias = draw(st.sampled_from([None, (), (1,), (columns,), (1, columns), (rows, 1), (rows, columns)]))
    inputs = [a, b] if bias is None else [a, b, numbers(rng, *bias)]
    return Sample(inputs, given, by=range(len(inputs)))


@st.composite
def einsums(draw: st.DrawFn) -> Sample:
    equation = draw(
        st.sampled_from(
            ["ij,jk->ik", "bij, bjk -> bik", "bhid,bhjd->bhij", "ij->ji", "i,j->ij", "bi,bj->bij", 
             "bchw,c->bhw", "ij,ij->", "ij,jk,kl->il", "b,ij->bij", "bc,bc->bc"]
        )
    )  # fmt: skip
    terms = equation.replace(" ", "").split("->")[0].split(",")
    length = {letter: draw(sizes) for letter in sorted(set("".join(terms)))}
    rng = draw(generators())
    inputs = [numbers(rng, *(length[letter] for letter in term)) for term in terms]
    return Sample(inputs, {"equation": equation}, by=range(len(inputs)))


def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    alpha: float = 1,
    beta: float = 1,
    transA: int = 0,  # noqa: N803
    transB: int = 0,  # noqa: N803
) -> Tensor:
    product = alpha * (a.T if transA else a) @ (b.T if transB else b)
    return product if c is None else product + beta * c


CASES = [
    Case("MatMul", torch.matmul, products()),
    Case("Gemm", gemm, gemms()),
    Case("Einsum", lambda *inputs, equation: torch.einsum(equation, *inputs), einsums()),
]
