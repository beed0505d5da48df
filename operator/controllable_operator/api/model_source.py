"""spec.model: where the weights come from and in which precision they are loaded."""

from typing import Literal

from pydantic import ConfigDict, Field

from controllable_operator.api.types import ApiModel, rule, rules


class SecretRef(ApiModel):
    """A Secret in the model's namespace."""

    name: str = Field(
        min_length=1,
        max_length=253,
        description="name of a Secret in the same namespace; its key `token` holds the access token.",
    )


class ModelSource(ApiModel):
    """A checkpoint: config.json, safetensors and a tokenizer in one folder."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.revision) || self.uri.startsWith('hf://')",
                "revision is for hf:// only: a claim or an image has no revisions",
                ".revision",
            ),
            rule(
                "!has(self.secretRef) || self.uri.startsWith('hf://')",
                "secretRef is for hf:// only: a claim or an image needs no token",
                ".secretRef",
            ),
        )
    )

    uri: str = Field(
        min_length=1,
        max_length=1024,
        description=(
            "uri of the checkpoint: hf://organisation/repository on the Hugging Face Hub, "
            "pvc://claim/path on a PersistentVolumeClaim of this namespace (mounted read-only), or "
            "image:///path, a folder inside the runtime image."
        ),
        json_schema_extra=rules(
            rule(
                "self.startsWith('hf://') || self.startsWith('pvc://') || self.startsWith('image:///')",
                "uri must start with hf:// (Hugging Face Hub), pvc:// (a PersistentVolumeClaim) "
                "or image:/// (a folder in the runtime image)",
            ),
            rule(
                "!self.startsWith('hf://') || "
                "self.matches('^hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$')",
                "hf:// must be followed by organisation/repository, as in hf://Qwen/Qwen3-0.6B",
            ),
            rule(
                "!self.startsWith('pvc://') || self.matches('^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/.*)?$')",
                "pvc:// must be followed by the claim's name and a path, as in pvc://models/nano",
            ),
            rule(
                "!self.startsWith('image:///') || size(self) > size('image:///')",
                "image:/// must be followed by a folder, as in image:///models/nano",
            ),
            rule("!self.contains('/../') && !self.endsWith('/..')", "uri must not climb with '..'"),
        ),
    )
    revision: str | None = Field(
        default=None,
        max_length=256,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$",
        description=(
            "revision of the repository for hf://: a commit, tag or branch. Name a commit to get the same "
            "weights in every pod for ever. Default: the repository's main branch."
        ),
    )
    secret_ref: SecretRef | None = Field(
        default=None,
        description="secretRef names the Secret with the token for a private or gated hf:// repository.",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="precision in which the weights are held. auto takes what the checkpoint was saved in.",
    )
