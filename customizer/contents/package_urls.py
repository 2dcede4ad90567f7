"""Package URLs of what is in an image: https://github.com/package-url/purl-spec.

`cos` is no registered type yet. It is what Google's own scanner calls COS's packages (osv-scalibr,
https://github.com/package-url/purl-spec/pull/270): name without category, and `distro=cos-{milestone}`.
"""

from collections.abc import Mapping

from cos_customizer.customizer.contents.inventory import Container, Package

_DOCKER_HUB = "docker.io"


def of_package(package: Package, system: Mapping[str, str]) -> str:
    """The package URL of a package.

    Args:
        package: It.
        system: Variables of the `/etc/os-release` beside it.
    """
    distribution, release = system.get("ID", ""), system.get("VERSION_ID", "")
    distro = "-".join(filter(None, [distribution, release]))
    if package.kind == "cos":
        name = package.name.rpartition("/")[2]
        return _purl("cos", None, name, package.version, {"distro": distro or "cos"})
    qualifiers = {"arch": package.architecture, "distro": distro}
    version = package.version
    if package.kind == "deb":
        qualifiers["upstream"] = package.source
    else:
        epoch, colon, rest = version.partition(":")
        if colon and epoch.isdecimal():
            version, qualifiers["epoch"] = rest, epoch if epoch != "0" else ""
    namespace = distribution or ("debian" if package.kind == "deb" else None)
    return _purl(package.kind, namespace, package.name, version, qualifiers)


def of_container(container: Container) -> str:
    """The package URL of a container image: of its manifest where the digest is known, else of its configuration.

    Args:
        container: It.
    """
    digest = manifest_digest(container)
    reference = next(iter([*container.digests, *container.names]), "")
    if not reference:
        return ""
    repository = repository_of(reference)
    name = repository.rpartition("/")[2]
    if digest:
        tag = next((_tag(each) for each in container.names if repository_of(each) == repository), "")
        return _purl("oci", None, name.lower(), digest, {"repository_url": repository.lower(), "tag": tag})
    host, _, path = repository.partition("/")
    namespace = path.rpartition("/")[0] or None
    qualifiers = {} if host == _DOCKER_HUB else {"repository_url": host}
    return _purl("docker", namespace, name, container.id, qualifiers)


def generic(name: str, version: str) -> str:
    """The package URL of what no type is for."""
    return _purl("generic", None, name, version, {})


def manifest_digest(container: Container) -> str:
    """Digest of a container image's manifest, by which registries give it; empty if it is not known."""
    if container.digests:
        return container.digests[0].rpartition("@")[2]
    return container.id if container.runtime == "containerd" else ""


def repository_of(reference: str) -> str:
    """The repository that a reference to a container image names, with its registry.

    Args:
        reference: By tag, by digest, or both; `name` alone is Docker Hub's.
    """
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    name = f"{head}{slash}{last.partition(':')[0]}"
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"{_DOCKER_HUB}/{name if slash else f'library/{name}'}"


def _tag(reference: str) -> str:
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[2]


def _purl(kind: str, namespace: str | None, name: str, version: str, qualifiers: Mapping[str, str]) -> str:
    from packageurl import PackageURL  # 10 ms that most commands can do without

    given = {key: value for key, value in qualifiers.items() if value}
    return PackageURL(kind, namespace, name, version or None, given).to_string()
