"""A small Transformer for decoders and predictors that work on tokens."""

from torch import Tensor, nn

HEAD = 32  # width of an attention head, as of the decoder of MAE: 512 / 16


class Transformer(nn.Module):
    """Pre-norm layers of self-attention and a 4 x wide GELU network, then a layer normalisation.

    Args:
        width: Width of the tokens; the heads have 32 each if that divides it, else there is one.
        layers: Number of layers.
    """

    def __init__(self, width: int, layers: int):
        super().__init__()
        heads = width // HEAD if width % HEAD == 0 else 1
        self.layers = nn.ModuleList(  # each built by itself: copies would start from the same weights
            nn.TransformerEncoderLayer(
                width,
                heads,
                4 * width,
                dropout=0.0,
                activation="gelu",
                layer_norm_eps=1e-6,
                batch_first=True,
                norm_first=True,
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, tokens: Tensor, hidden: Tensor | None = None) -> Tensor:
        """(batch, tokens, width) -> the same; `hidden` is true, (batch, tokens), at tokens that none may see."""
        for layer in self.layers:
            tokens = layer(tokens, src_key_padding_mask=hidden)
        result: Tensor = self.norm(tokens)
        return result
