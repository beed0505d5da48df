"""spec.model: where the weights come from, where they are kept, and in which precision they are loaded."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from controllable_operator.api.types import ApiModel, rule, rules

AccessMode = Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]

_DOWNLOADED = "['hf://', 's3://', 'https://', 'http://'].exists(s, self.uri.startsWith(s))"


class SecretRef(ApiModel):
    """A Secret in the model's namespace."""

    name: str = Field(
        min_length=1,
        max_length=253,
        description=(
            "name of a Secret in the same namespace. Its keys: hf:// token; s3:// access-key-id, "
            "secret-access-key, endpoint (of a server other than AWS) and region; https:// token, or "
            "username and password; oci:// is a pull secret (kubernetes.io/dockerconfigjson)."
        ),
    )


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


class ModelSource(ApiModel):
    """A checkpoint: config.json, safetensors and a tokenizer in one folder."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.revision) || self.uri.startsWith('hf://')",
                "revision is for hf:// only: nothing else has revisions (pin it with digest)",
                ".revision",
            ),
            rule(
                "!has(self.secretRef) || !(self.uri.startsWith('pvc://') || self.uri.startsWith('image://'))",
                "secretRef is for what is downloaded: a claim or a folder of the runtime image needs none",
                ".secretRef",
            ),
            rule(
                "!has(self.secretRef) || !self.uri.startsWith('http://')",
                "secretRef is not for http://, which would show it to everybody on the way: take https://",
                ".secretRef",
            ),
            rule(
                "!has(self.digest) || !(self.uri.startsWith('oci://') || self.uri.startsWith('image://'))",
                "digest is not for images: pin an oci:// image in its uri, with @sha256:…",
                ".digest",
            ),
            rule(
                "has(self.digest) || !self.uri.startsWith('http://')",
                "http:// needs a digest: what comes without encryption may be anybody's",
                ".digest",
            ),
            rule(
                f"!has(self.cache) || {_DOWNLOADED}",
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
        json_schema_extra=rules(
            rule(
                "['hf://', 's3://', 'https://', 'http://', 'pvc://', 'oci://', 'image:///']"
                ".exists(s, self.startsWith(s))",
                "uri must start with hf:// (Hugging Face Hub), s3:// (a bucket), https:// (an archive), "
                "pvc:// (a PersistentVolumeClaim), oci:// (an image) or image:/// (a folder in the runtime "
                "image)",
            ),
            rule(
                "!self.startsWith('hf://') || "
                "self.matches('^hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$')",
                "hf:// must be followed by organisation/repository, as in hf://Qwen/Qwen3-0.6B",
            ),
            rule(
                "!self.startsWith('s3://') || "
                "self.matches('^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#@\\\\s]*)?$')",
                "s3:// must be followed by a bucket and a prefix, as in s3://models/nano",
            ),
            rule(
                "!self.startsWith('http') || "
                "self.matches('^https?://[A-Za-z0-9.\\\\[\\\\]:-]+/[^?#@\\\\s]*[.](tar|tar[.]gz|tgz|zip)$')",
                "https:// must name an archive (.tar, .tar.gz, .tgz or .zip), as in "
                "https://host/nano.tar.gz, without user, query or fragment: credentials belong in secretRef",
            ),
            rule(
                "!self.startsWith('pvc://') || self.matches('^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/.*)?$')",
                "pvc:// must be followed by the claim's name and a path, as in pvc://models/nano",
            ),
            rule(
                "!self.startsWith('oci://') || self.matches('^oci://[a-z0-9][a-zA-Z0-9._:/@-]*[a-zA-Z0-9]$')",
                "oci:// must be followed by an image, as in oci://registry.example.com/models/nano:1",
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
            "weights in every pod for ever; a branch is looked up once for each pod, and with a cache once. "
            "Default: the repository's main branch."
        ),
    )
    digest: str | None = Field(
        default=None,
        pattern=r"^sha256:[0-9a-f]{64}$",
        description=(
            "digest that the weights must have, or they are not served. Of an https:// archive its sha256; "
            "of hf://, s3:// and pvc:// the sha256 over what sha256sum prints of the model's files in the "
            "order of their names. status.model.digest tells it of what is there, in the same form. A "
            "claim's files are all read for it when a pod starts."
        ),
    )
    secret_ref: SecretRef | None = Field(
        default=None,
        description="secretRef names the Secret with what hf://, s3://, https:// or oci:// ask for.",
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
