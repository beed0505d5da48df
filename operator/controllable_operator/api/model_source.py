"""spec.model: where the weights come from, where they are kept, which adapters there are, which precision."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from controllable_operator.api.adapter import Adapter
from controllable_operator.api.source import DOWNLOADED, URI_RULES, Source, source_rules
from controllable_operator.api.types import ApiModel, rule, rules

AccessMode = Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]


class Cache(ApiModel):
    """A PersistentVolumeClaim that all replicas share."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0",
                "size can't shrink: no volume does; remove the cache and add it anew",
                ".size",
            ),
            rule(
                "has(self.storageClassName) == has(oldSelf.storageClassName) && "
                "(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
                "storageClassName can't be changed: no volume's can; remove the cache and add it anew",
                ".storageClassName",
            ),
            rule(
                "self.accessModes == oldSelf.accessModes",
                "accessModes can't be changed: no volume's can; remove the cache and add it anew",
                ".accessModes",
            ),
        )
    )

    size: Annotated[str, Field(pattern=r"^[1-9][0-9]*(\.[0-9]+)?([KMGTPE]i|[kMGTPE])?$", max_length=32)] = (
        Field(
            description=(
                "size of the volume, such as 60Gi: that of the weights, twice where uri or revision will "
                "change while the model serves, and for https:// the archive's besides. It may grow where "
                "the storage class allows it."
            )
        )
    )
    storage_class_name: str | None = Field(
        default=None,
        max_length=253,
        description="storageClassName of the volume. Default: the cluster's default class.",
    )
    access_modes: list[AccessMode] = Field(
        default=["ReadWriteOnce"],
        min_length=1,
        max_length=3,
        description=(
            "accessModes of the volume. With ReadWriteOnce, the default, all replicas run on one node; take "
            "ReadWriteMany, if the storage class can, for replicas on several."
        ),
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class ModelSource(Source):
    """A checkpoint: config.json, safetensors and a tokenizer in one folder."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *source_rules(),
            rule(
                f"!has(self.cache) || {DOWNLOADED}",
                "cache is for what is downloaded (hf://, s3://, https://); all else is read where it is",
                ".cache",
            ),
        )
    )

    uri: str = Field(
        min_length=1,
        max_length=1024,
        description=(
            "uri of the checkpoint. hf://organisation/repository on the Hugging Face Hub; s3://bucket/prefix "
            "on AWS or, with an endpoint in secretRef, any server that speaks S3; https://host/model.tar.gz, "
            "an archive (.tar, .tar.gz, .tgz, .zip) of the model's folder or its content, also as http:// "
            "with a digest; pvc://claim/path on a PersistentVolumeClaim of this namespace (mounted "
            "read-only); oci://registry/image:tag, an image with the model at its root or in /models "
            "(mounted by the node, which needs image volumes: Kubernetes 1.35, or 1.34 with the feature gate "
            "ImageVolume); "
            "image:///path, a folder inside the runtime image. Weights must be safetensors: pickled ones, "
            "which run code when they are loaded, are refused."
        ),
        json_schema_extra=URI_RULES,
    )
    cache: Cache | None = Field(
        default=None,
        description=(
            "cache keeps downloaded weights on a PersistentVolumeClaim that all replicas share: downloaded "
            "once, kept while the model is scaled to zero or suspended, deleted with the model. Default: "
            "none, every pod downloads for itself."
        ),
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="precision in which the weights are held. auto takes what the checkpoint was saved in.",
    )
    adapters: list[Adapter] = Field(
        default=[],
        max_length=32,
        description=(
            "adapters for domains that share the model. A request gets the one whose name it gives as its "
            "`model` in the OpenAI API, or as `adapter` to Triton, and costs no more memory than the "
            "adapter's weights; requests that give the model's own name get none."
        ),
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
