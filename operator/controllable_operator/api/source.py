"""A place that files come from, of a model or of an adapter, and what must hold for it."""

from pydantic import Field

from controllable_operator.api.types import ApiModel, rule, rules

DOWNLOADED = "['hf://', 's3://', 'https://', 'http://'].exists(s, self.uri.startsWith(s))"

URI_RULES = rules(
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
)


def source_rules(guard: str = "") -> list[dict[str, str]]:
    """What must hold for the fields of a Source together; `guard` excuses one (a CEL `or` in front)."""
    return [
        rule(
            guard + "!has(self.revision) || self.uri.startsWith('hf://')",
            "revision is for hf:// only: nothing else has revisions (pin it with digest)",
            ".revision",
        ),
        rule(
            guard
            + "!has(self.secretRef) || !(self.uri.startsWith('pvc://') || self.uri.startsWith('image://'))",
            "secretRef is for what is downloaded: a claim or a folder of the runtime image needs none",
            ".secretRef",
        ),
        rule(
            guard + "!has(self.secretRef) || !self.uri.startsWith('http://')",
            "secretRef is not for http://, which would show it to everybody on the way: take https://",
            ".secretRef",
        ),
        rule(
            guard
            + "!has(self.digest) || !(self.uri.startsWith('oci://') || self.uri.startsWith('image://'))",
            "digest is not for images: pin an oci:// image in its uri, with @sha256:…",
            ".digest",
        ),
        rule(
            guard + "has(self.digest) || !self.uri.startsWith('http://')",
            "http:// needs a digest: what comes without encryption may be anybody's",
            ".digest",
        ),
    ]


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


class Source(ApiModel):
    """Where files come from, and which exactly."""

    uri: str | None
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
