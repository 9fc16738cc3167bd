"""Turns frames of speech, text and face into emotion logits by GIA-MIC.

GIA-MIC is gated interactive attention with a modality-invariant generator and constraint (He, Mi and Toda,
INTERSPEECH 2025, arXiv:2506.00865). The equations are our reading of the abstract's claims, not the authors' code.

Letters: m, i, j are modalities; X_m (B, T_m, D_m) are frames of a frozen encoder; H_m, S_m (B, T_m, d); x (B, K, d)
are latent tokens. [a ; b] joins features, ⊙ multiplies element by element, σ is the logistic function.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gia_mic.fuse.config import GiaMicConfig
from gia_mic.fuse.models import constraint as constraints
from gia_mic.fuse.models.attention import CrossAttention, attend
from gia_mic.fuse.models.layers import Batch, Output, PaddedFrames, drop, mean, pool, project, scaled, scalers
from gia_mic.fuse.models.pooled import UnimodalHeads

__all__ = ["GatedInteractiveAttention", "Generator", "GiaMic"]


class GatedInteractiveAttention(nn.Module):
    """What modality i takes from modality j, frame by frame of i, beside what it keeps of its own.

        C = softmax(H_i W_Q (H_j W_K)ᵀ / sqrt(d_h)) H_j W_V        each head alone, over the frames of j
        G = σ(W_g LayerNorm(C) + b_g)
        P_{i←j} = G ⊙ C + (1 − G) ⊙ H_i W_self

    Args:
        width: d.
        heads: Attention heads, d_h = d / heads.
        gate: False fixes G ≡ 1, so that P = C.
    """

    def __init__(self, width: int, heads: int, *, gate: bool = True) -> None:
        super().__init__()
        self.attention = CrossAttention(width, heads)
        self.norm = nn.LayerNorm(width) if gate else None
        self.gate = nn.Linear(width, width) if gate else None

    def forward(self, to: Tensor, of: PaddedFrames, own: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return P, the attention's weights and G.

        Args:
            to: H_i (B, T_i, d).
            of: H_j (B, T_j, d).
            own: H_i W_self (B, T_i, d), the same for each j; None without gate.

        Returns:
            P (B, T_i, d), 0 where j is missing; weights (B, heads, T_i, T_j); G (B, T_i, d), None without gate.
        """
        context, shares = self.attention(to, of)
        gate = None
        if self.gate is not None and self.norm is not None and own is not None:
            gate = torch.sigmoid(self.gate(self.norm(context))).to(context.dtype)  # stacked, biases make it float32
            context = torch.lerp(own, context, gate)
        return context * of.present[:, None, None].to(context.dtype), shares, gate


class Refinement(nn.Module):
    """One layer of the generator: what tokens x take from the frames of one modality.

        r_m = PReLU(W_r softmax(x H_mᵀ / sqrt(d)) H_m + b_r)
        U_m = W_u (r_m ⊙ σ(W_s [r_m ; x] + b_s)) + b_u

    Args:
        width: d.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read = nn.Linear(width, width)
        self.bend = nn.PReLU()
        self.gate = nn.Linear(2 * width, width)
        self.change = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, frames: Sequence[PaddedFrames]) -> Tensor:
        """Return U_m.

        Args:
            x: Tokens that read each modality, (B, M, K, d).
            frames: (B, T_m, d) of each modality.

        Returns:
            (B, M, K, d), 0 where a modality is missing.
        """
        contexts = torch.stack([attend(x[:, number], modality) for number, modality in enumerate(frames)], 1)
        projected = self.read(contexts)
        activated = F.prelu(projected, self.bend.weight.to(projected.dtype))  # torch.func can't mix types here
        gate = torch.sigmoid(self.gate(torch.cat([activated, x], -1)))
        present = torch.stack([modality.present for modality in frames], 1)
        return self.change(activated * gate) * present[:, :, None, None].to(x.dtype)


class Generator(nn.Module):
    """The modality-invariant generator 𝒢: K latent tokens refined over L layers, with weights all modalities share.

        x ← LayerNorm(x + Σ_m U_m(x))           in each layer, over a set of modalities

    x starts from a learned vector for each token. A missing modality adds nothing to the sum.

    Args:
        width: d.
        latents: K.
        layers: L.
    """

    def __init__(self, width: int, latents: int, layers: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.empty(latents, width))
        self.layers = nn.ModuleList(Refinement(width) for _ in range(layers))

    def forward(self, frames: Sequence[PaddedFrames], *, unimodal: bool) -> tuple[Tensor, Tensor | None]:
        """Refine the tokens by all modalities together and, if wanted, by each alone.

        Both read the same frames with the same weights, so all of them go through at once.

        Returns:
            x (B, K, d) of all present modalities; and, if `unimodal`, z (B, M, K, d) of each.
        """
        like, M, K = frames[0].values, len(frames), len(self.start)
        together = self.start.to(like.dtype).expand(len(like), 1, -1, -1)
        single = together.expand(-1, M, -1, -1)
        for layer in self.layers:
            assert isinstance(layer, Refinement)
            shared = together.expand(-1, M, -1, -1)
            update = layer(torch.cat([shared, single], 2) if unimodal else shared, frames)
            changed = together + update[:, :, :K].sum(1, keepdim=True)
            if unimodal:
                both = layer.norm(torch.cat([changed, single + update[:, :, K:]], 1))
                together, single = both[:, :1], both[:, 1:]
            else:
                together = layer.norm(changed)
        return together.squeeze(1), single if unimodal else None


class GiaMic(nn.Module):
    """GIA-MIC for any set of modalities.

        H_m = LayerNorm(W_m X_m)
        S_i = LayerNorm(H_i + W_o [P_{i←j} ; P_{i←k}])                     one P for each other modality
        c = W_2 ReLU(W_1 [pool S_s ; pool S_t ; pool S_v ; pool x] + b_1) + b_2
        v_m = V_m ReLU(A_m pool X_m + a_m) + b_m
        logits = c + mean over present m of v_m

    pool is the mean over an utterance's frames (or tokens); a missing modality pools to 0 and its P are 0. With one
    modality alone there is no P, and S = LayerNorm(H). Without interaction, S_i = LayerNorm(H_i + W_o A(H_i)), where A
    is multi-head self-attention; without generator the head sees no x and there is no constraint.

    v_m, what each modality says by itself, is our addition: what late fusion knows needn't be learnt by interactions,
    which only correct it. Where an utterance has one of several modalities, nothing is corrected. Without unimodal
    heads the logits are c.

    Args:
        dims: Features of each modality's frames, D_m, in the project's order of modalities.
        outputs: C.
        config: Everything else; the defaults stand in `GiaMicConfig`.
        layers: Number of encoder layers by modality, as `layers.scalers` takes them.
    """

    def __init__(
        self, dims: Mapping[str, int], outputs: int, config: GiaMicConfig, layers: Mapping[str, int] | None = None
    ) -> None:
        super().__init__()
        self.modalities, self.dims = tuple(dims), dict(dims)
        self.width, self.dropouts = max(config.width, config.unimodal_width), len(dims) + 1
        self.dropout = config.dropout
        self.heads, self.weight, self.constraint = config.heads, config.constraint_weight, config.constraint
        d, interaction = config.width, "interaction" not in config.without
        self.scalers = scalers(dims, layers)
        self.project = nn.ModuleDict(
            {name: nn.Linear(dim, d, bias=False) for name, dim in scaled(dims, layers).items()}
        )
        self.norm = nn.ModuleDict({name: nn.LayerNorm(d) for name in dims})
        self.sources = {
            name: tuple(other for other in dims if other != name) if interaction else (name,) for name in dims
        }
        self.pairs = nn.ModuleDict(
            {
                f"{to}_{of}": GatedInteractiveAttention(
                    d, config.heads, gate=interaction and "gate" not in config.without
                )
                for to in dims
                for of in self.sources[to]
            }
        )
        gated = interaction and "gate" not in config.without and len(dims) > 1
        self.own = nn.ModuleDict({name: nn.Linear(d, d, bias=False) for name in dims}) if gated else None
        self.join = nn.ModuleDict(
            {name: nn.Linear(len(of) * d, d, bias=False) for name, of in self.sources.items() if of}
        )
        self.specific = nn.ModuleDict({name: nn.LayerNorm(d) for name in dims})
        generator = "generator" not in config.without
        self.generator = Generator(d, config.latents, config.layers) if generator else None
        self.adversary = (
            constraints.Adversary(d, len(dims)) if generator and config.constraint == "adversarial" else None
        )
        self.head = nn.ModuleList([nn.Linear((len(dims) + generator) * d, d), nn.Linear(d, outputs)])
        self.unimodal: UnimodalHeads | None = None
        if config.unimodal_width:
            self.unimodal = UnimodalHeads(scaled(dims, layers), config.unimodal_width, outputs)

    def forward(self, batch: Batch, keep: Tensor | None = None, *, details: bool = False) -> Output:
        """Fuse a batch.

        Args:
            batch: Raw frames by modality, (B, T_m, D_m) with masks.
            keep: (B, M + 1, d) dropout masks; None outside training.
            details: Also return `gate/i_j` (B, T_i, d), `attention/i_j` (B, heads, T_i, T_j), `invariant` (B, K, d).
        """
        # a modality that nobody in the batch has costs nothing: it reads nothing, and nothing reads it
        frames = {name: self._project(name, batch[name]) for name in self.modalities if name in batch}
        tensors: dict[str, Tensor] = {}
        specific = {name: self._specific(name, frames, tensors if details else None) for name in frames}
        several = self.training and len(frames) > 1
        loss = next(iter(specific.values())).new_zeros((), dtype=torch.float32)
        invariant: Tensor | None = None
        unimodal_invariant: dict[str, Tensor] = {}
        if self.generator is not None:
            together, single = self.generator(list(frames.values()), unimodal=several)
            invariant = together.mean(1)
            if details:
                tensors["invariant"] = together
            if single is not None:
                unimodal_invariant = {name: single[:, number].mean(1) for number, name in enumerate(frames)}
                if self.constraint != "none":
                    present = {name: padded.present for name, padded in frames.items()}
                    loss = self.weight * self._constraint_loss(unimodal_invariant, present)
        if self.unimodal is not None:
            correction = self._decide(specific, invariant, keep)
            logits, alone = self._corrected(correction, batch, keep)
            return Output(logits, loss, tensors, alone if several else ())
        unimodal_logits = []
        for name in batch if several else ():
            # who reads nobody else says the same by itself
            reads_itself = self.sources[name] == (name,)
            own = specific[name] if reads_itself else self._specific(name, {name: frames[name]})
            unimodal_logits.append(self._decide({name: own}, unimodal_invariant.get(name), keep))
        return Output(self._decide(specific, invariant, keep), loss, tensors, tuple(unimodal_logits))

    def _specific(
        self, name: str, frames: Mapping[str, PaddedFrames], tensors: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Return pool S_i (B, d) of modality i = `name`, where only those in `frames` are there to read from.

        Gates and attention weights are put into `tensors`, by the names that `forward` gives them.
        """
        values, mask = frames[name]
        sources = [other for other in self.sources[name] if other in frames]
        if sources:
            own = self.own[name](values) if self.own is not None else None
            contexts = []
            for other in self.sources[name]:
                if other not in sources:
                    contexts.append(torch.zeros_like(values))
                    continue
                context, shares, gate = self.pairs[f"{name}_{other}"](values, frames[other], own)
                contexts.append(context)
                if tensors is not None:
                    tensors[f"attention/{name}_{other}"] = shares
                    if gate is not None:
                        tensors[f"gate/{name}_{other}"] = gate
            values = values + self.join[name](torch.cat(contexts, -1))
        return mean(PaddedFrames(self.specific[name](values), mask))

    def _decide(self, specific: Mapping[str, Tensor], invariant: Tensor | None, keep: Tensor | None) -> Tensor:
        """Return the head's logits (B, C) of pool S by modality, 0 for those that are left out, and pool x."""
        nothing = torch.zeros_like(next(iter(specific.values())))
        vectors = [specific.get(name, nothing) for name in self.modalities]
        joined = torch.cat(vectors if invariant is None else [*vectors, invariant], -1)
        return self.head[1](drop(torch.relu(self.head[0](joined)), keep, self.dropouts - 1))

    def _corrected(self, correction: Tensor, batch: Batch, keep: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the mean of what the modalities say by themselves, corrected; and what each in the batch says."""
        assert self.unimodal is not None
        vectors, present = pool(batch, self.scalers, self.dims)
        alone, together = self.unimodal(vectors, present, keep)
        several = present.sum(1, keepdim=True) >= min(2, len(self.modalities))
        return together + correction * several, tuple(alone[name] for name in batch)

    def _project(self, name: str, padded: PaddedFrames) -> PaddedFrames:
        values = self.norm[name](project(padded.values, self.scalers[name], self.project[name]))
        return PaddedFrames(values, padded.mask)

    def _constraint_loss(self, z: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        if self.adversary is not None:
            return self.adversary(z, present)
        return {"similarity": constraints.similarity, "cosine": constraints.cosine, "cmd": constraints.cmd}[
            self.constraint
        ](z, present)
