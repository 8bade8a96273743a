"""The masked autoencoder against transformers' with the same weights and masks."""

import pytest
import torch
from torch import nn

from selfray.encoders.conv import Conv
from selfray.encoders.vit import ViT
from selfray.errors import UserError
from selfray.objectives.mae import MAE, hidden_patch_loss
from selfray.views.random import OBJECTIVE, sample_keys, uniform

KEYS = sample_keys(torch.arange(5), 0, 0)


def made(**settings):
    torch.manual_seed(0)
    encoder = ViT(3, (32, 32), shape="tiny", patch=8, layers=2, positions="sincos")
    return MAE(encoder, **{"width": 64, "layers": 2, **settings})


def their_layer(layer, ours):
    """Copies the weights of a layer of transformers into one of torch's."""
    attention = layer.attention
    with torch.no_grad():
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        ours.self_attn.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        ours.self_attn.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
        ours.self_attn.out_proj.load_state_dict(attention.o_proj.state_dict())
        ours.norm1.load_state_dict(layer.layernorm_before.state_dict())
        ours.norm2.load_state_dict(layer.layernorm_after.state_dict())
        for mine, name in ((ours.linear1, "fc1"), (ours.linear2, "fc2")):
            mine.load_state_dict(getattr(layer.mlp, name).state_dict())


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("ratio", [0.75, 0.4])
def test_the_loss_is_that_of_transformers_with_the_same_weights_and_masks(normalise, ratio):
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    model = made(mask_ratio=ratio, normalise=normalise)
    peer = ViTMAEForPreTraining(
        ViTMAEConfig(
            image_size=32, patch_size=8, hidden_size=192, num_hidden_layers=2, num_attention_heads=3,
            intermediate_size=768, decoder_hidden_size=64, decoder_num_hidden_layers=2,
            decoder_num_attention_heads=2, decoder_intermediate_size=256, mask_ratio=ratio, norm_pix_loss=normalise,
            layer_norm_eps=1e-6,
        )
    )  # fmt: skip
    for module in model.encoder.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    model.encoder.network.load_state_dict(peer.vit.state_dict())
    decoder = peer.decoder
    model.enter.load_state_dict(decoder.decoder_embed.state_dict())
    model.leave.load_state_dict(decoder.decoder_pred.state_dict())
    model.decoder.norm.load_state_dict(decoder.decoder_norm.state_dict())
    with torch.no_grad():
        model.mask_token.copy_(decoder.mask_token[0, 0])
        decoder.decoder_pos_embed[:, 1:] = model.positions
        decoder.decoder_pos_embed[:, 0] = 0
    for theirs, ours in zip(decoder.decoder_layers, model.decoder.layers, strict=True):
        their_layer(theirs, ours)
    images = torch.rand(5, 3, 32, 32)
    loss, _ = model.loss(images, KEYS)
    expected = peer(images, noise=uniform(KEYS, OBJECTIVE, 16)).loss
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(model.enter.weight.grad, decoder.decoder_embed.weight.grad, rtol=1e-3, atol=1e-6)


def test_the_loss_is_the_papers_mean_over_hidden_patches():
    predicted, target = torch.randn(2, 3, 6, 8, dtype=torch.double)
    hidden = torch.tensor([[0, 5], [2, 3], [1, 4]])
    total = 0.0
    for p, t, numbers in zip(predicted, target, hidden, strict=True):
        for number in numbers:
            goal = (t[number] - t[number].mean()) / (t[number].var(correction=1) + 1e-6).sqrt()
            total += ((p[number] - goal) ** 2).mean() / 6
    torch.testing.assert_close(hidden_patch_loss(predicted, target, hidden, True), total)


def test_only_visible_patches_go_through_the_encoder():
    model, images = made(), torch.rand(5, 3, 32, 32)
    lengths = []
    model.encoder.network.layers[0].register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    model.loss(images, KEYS)
    assert lengths == [1 + 4]


def test_hidden_patches_tell_the_encoder_nothing():
    model, images = made().eval(), torch.rand(5, 3, 32, 32)
    with torch.no_grad():
        before, hidden = model._predicted(images, KEYS)
        row, column = int(hidden[0, 0]) // 4 * 8, int(hidden[0, 0]) % 4 * 8
        images[0, :, row : row + 8, column : column + 8] = 0
        assert torch.equal(model._predicted(images, KEYS)[0], before)


def test_encoders_that_need_all_positions_are_refused():
    with pytest.raises(UserError, match=r"which encoder 'conv' cannot do; use encoder\.name=vit"):
        MAE(Conv(1, (8, 8), width=8, stages=1))


def test_pictures_keep_what_was_visible():
    model, images = made().eval(), torch.rand(5, 3, 32, 32)
    with torch.no_grad():
        shown = model.pictures({"images": images, "keys": KEYS})
        _, hidden = model._predicted(images, KEYS)
    for number in sorted(set(range(16)) - set(hidden[0].tolist())):
        place = (slice(None), slice(number // 4 * 8, number // 4 * 8 + 8), slice(number % 4 * 8, number % 4 * 8 + 8))
        for picture in shown.values():
            torch.testing.assert_close(picture[0][place], images[0][place])
    assert (shown["visible"] != shown["painted"]).any()
