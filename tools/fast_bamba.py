"""A training forward for Bamba that needs no kernels beyond PyTorch's own.

It computes what transformers' BambaForCausalLM computes, from the same parameters, but over rows in which several
documents lie one after the other: convolution, state and attention start afresh at every document, so each document
sees exactly what it would see alone. The scan is the chunked SSD form of Mamba-2 (Dao and Gu, 2024, section 6) as
matrix products; torch.compile fuses the rest. `tools/train_demo.py` holds it against transformers after every run.
"""

import torch
import torch.nn.functional as F
from transformers.models.bamba.modeling_bamba import apply_rotary_pos_emb

# Added to the log-decay at a document's first token: exp(-80) leaves nothing of the state before it.
RESET = 80.0


def document_positions(tokens, bos):
    """Each token's distance from the start of its document; [B, T] from token ids [B, T]."""
    index = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    start = torch.where(tokens == bos, index, torch.zeros_like(index))
    return index - torch.cummax(start, dim=1).values


def rms_norm(x, weight, eps):
    """RMSNorm in float32."""
    x = x.float()
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))


def ssd(x, dt, a_log_decay, b, c, chunk):
    """y_t = C_t s_t with s_t = exp(a_t) s_{t-1} + dt_t x_t B_t.

    x [N, T, H, P], dt and a_log_decay [N, T, H] in float32, b and c [N, T, S] of one group; T a multiple of chunk.
    """
    n, t, h, p = x.shape
    s, q = b.shape[-1], chunk
    k = t // q
    cum = a_log_decay.view(n, k, q, h).cumsum(2).transpose(2, 3)  # [N, K, H, Q]
    b, c = b.view(n, k, q, s), c.view(n, k, q, s)
    u = (x * dt[..., None].to(x.dtype)).view(n, k, q, h, p).transpose(2, 3)  # [N, K, H, Q, P]
    causal = torch.ones(q, q, dtype=torch.bool, device=x.device).tril()
    decay = torch.exp((cum[..., :, None] - cum[..., None, :]).masked_fill(~causal, float("-inf")))
    scores = torch.matmul(c, b.transpose(-1, -2))  # [N, K, Q, Q]
    y = torch.matmul((scores[:, :, None] * decay).to(x.dtype), u)
    if k > 1:
        total = cum[..., -1]  # [N, K, H]
        weighted = u * torch.exp(total[..., None] - cum)[..., None].to(x.dtype)
        states = torch.matmul(weighted.transpose(-1, -2), b[:, :, None])  # [N, K, H, P, S]
        state = torch.zeros_like(states[:, 0], dtype=torch.float32)
        before = []
        for i in range(k):
            before.append(state)
            state = state * torch.exp(total[:, i])[..., None, None] + states[:, i].float()
        before = torch.stack(before, 1).to(x.dtype)  # [N, K, H, P, S]
        y = y + torch.matmul(c[:, :, None], before.transpose(-1, -2)) * torch.exp(cum)[..., None].to(x.dtype)
    return y.transpose(2, 3).reshape(n, t, h, p)


def mixer(m, v, position, chunk):
    """The Mamba-2 mixer of one layer; v [N, T, hidden] is already normed."""
    n, t, _ = v.shape
    d, s, h = m.intermediate_size, m.ssm_state_size, m.num_heads
    gate, xbc, dt = m.in_proj(v).split([d, m.conv_dim, h], dim=-1)
    kernel = m.conv1d.weight[:, 0]  # [conv_dim, K]
    taps = m.conv_kernel_size
    out = xbc * kernel[:, -1] + m.conv1d.bias
    for lag in range(1, taps):
        seen = (position >= lag)[..., None]
        out = out + torch.where(seen, F.pad(xbc, (0, 0, lag, 0))[:, :t], 0) * kernel[:, taps - 1 - lag]
    x, b, c = F.silu(out).to(v.dtype).split([d, s, s], dim=-1)
    x = x.reshape(n, t, h, d // h)
    dt = F.softplus(dt.float() + m.dt_bias)
    decay = -torch.exp(m.A_log.float()) * dt - RESET * (position == 0)[..., None]
    y = ssd(x, dt, decay, b, c, chunk) + x * m.D.to(x.dtype)[:, None]
    y = y.reshape(n, t, d).float() * F.silu(gate.float())
    return m.out_proj(rms_norm(y, m.norm.weight, m.norm.variance_epsilon).to(v.dtype))


def attention(a, v, position, mask, rotary):
    """Grouped-query attention within each document."""
    n, t, _ = v.shape
    q, k, w = (f(v).view(n, t, -1, a.head_dim).transpose(1, 2) for f in (a.q_proj, a.k_proj, a.v_proj))
    cos, sin = rotary
    q, k = apply_rotary_pos_emb(q, k, cos.to(q.dtype), sin.to(q.dtype))
    groups = q.shape[1] // k.shape[1]
    k, w = k.repeat_interleave(groups, 1), w.repeat_interleave(groups, 1)
    y = F.scaled_dot_product_attention(q, k, w, attn_mask=mask)
    return a.o_proj(y.transpose(1, 2).reshape(n, t, -1))


def forward(model, tokens, position, dtype=torch.bfloat16, chunk=64):
    """Logits [N, T, vocabulary] of packed rows; `position` comes from document_positions."""
    core = model.model
    eps = model.config.rms_norm_eps
    document = torch.cumsum(position == 0, dim=1)
    mask = (document[:, None, :, None] == document[:, None, None, :]) & torch.ones(
        tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device).tril()
    hidden = core.embed_tokens(tokens).float()
    rotary = core.rotary_emb(hidden, position)
    for layer in core.layers:
        v = rms_norm(hidden, layer.input_layernorm.weight, eps).to(dtype)
        if hasattr(layer, "mamba"):
            hidden = hidden + mixer(layer.mamba, v, position, chunk)
        else:
            hidden = hidden + attention(layer.self_attn, v, position, mask, rotary)
        v = rms_norm(hidden, layer.pre_ff_layernorm.weight, eps).to(dtype)
        f = layer.feed_forward
        hidden = hidden + f.down_proj(F.silu(f.gate_proj(v)) * f.up_proj(v))
    return model.lm_head(rms_norm(hidden, core.final_layernorm.weight, eps).to(dtype))
