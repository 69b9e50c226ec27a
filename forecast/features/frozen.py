"""Arrays as compiled functions read them."""

from typing import Any

from numpy.typing import NDArray


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written.

    Numba compiles a function for each mix of arguments that can be written and that cannot, in seconds each time. What
    Polars gives can be if it had to be copied, which depends on chunks and on empty tables.
    """
    view = array.view()
    view.flags.writeable = False
    return view
