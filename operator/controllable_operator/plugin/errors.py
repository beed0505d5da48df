"""What can keep the plugin from answering. Every message is one sentence that ends in what to do."""


class PluginError(Exception):
    """Base of all that is told in one line, with exit code 1."""


class NoCluster(PluginError):
    """There is no kubeconfig, or it names nothing usable."""


class ServerAway(PluginError):
    """The API server does not answer."""


class NotAllowed(PluginError):
    """The API server refuses, for want of a right or of a login."""


class NotFound(PluginError):
    """There is no such object."""


class NotServed(PluginError):
    """The API server does not know the kind: its definition is not installed."""


class Refused(PluginError):
    """The API server answers with another error."""


class NotApplicable(PluginError):
    """What is asked for makes no sense for this model, or on this cluster."""


class ModelSilent(PluginError):
    """The model's pods can't be asked, or their answer makes no sense."""
