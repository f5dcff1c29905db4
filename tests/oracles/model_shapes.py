"""Random contents of model files."""

from hypothesis import strategies as st

CONTENT = {
    "name": "tiny",
    "layers": 2,
    "hidden": 16,
    "heads": 4,
    "ffn": 24,
    "vocab": 11,
    "context": 64,
    "gated": True,
    "activation": "silu",
    "norm": "rms",
    "positions": "rotary",
    "tied_embedding": False,
    "source": "a test",
}


@st.composite
def contents(draw):
    positions = draw(st.sampled_from(["learned", "rotary", "alibi", "relative", "none"]))
    kv_heads = draw(st.integers(1, 3))
    return {
        **CONTENT,
        "layers": draw(st.integers(1, 3)),
        "hidden": draw(st.integers(1, 300)),
        "heads": kv_heads * draw(st.integers(1, 3)),
        "kv_heads": kv_heads,
        "head_width": 2 * draw(st.integers(1, 80)),
        "ffn": draw(st.integers(1, 300)),
        "vocab": draw(st.integers(1, 20)),
        "gated": draw(st.booleans()),
        "activation": draw(st.sampled_from(["relu", "gelu", "silu"])),
        "norm": draw(st.sampled_from(["layer", "rms"])),
        "positions": positions,
        "position_offset": draw(st.integers(0, 2)) if positions == "learned" else 0,
        "biases": draw(st.lists(st.sampled_from(["qkv", "output", "ffn"]), unique=True)),
        "block": draw(st.sampled_from(["sequential", "parallel_one_norm", "parallel_two_norms"])),
        "tied_embedding": draw(st.booleans()),
    }


precisions = st.sampled_from(["fp16", "int8", "int4"])
