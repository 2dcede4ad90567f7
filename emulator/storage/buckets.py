"""Buckets, and who may do what with them, which is kept and asked by nobody.

Sources: https://cloud.google.com/storage/docs/json_api/v1/buckets,
https://cloud.google.com/storage/docs/json_api/v1/projects/serviceAccount/get.
"""

from urllib.parse import parse_qsl, urlsplit

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.projects import is_project_id, project_number
from cos_customizer.emulator.storage.conditions import Conditions
from cos_customizer.emulator.storage.listing import MOST, from_token, list_objects, to_token
from cos_customizer.emulator.storage.names import check_new_bucket
from cos_customizer.emulator.storage.requests import Answer, Request, Resource, invalid
from cos_customizer.emulator.storage.resources import (
    bucket_fields,
    check_acl,
    merged,
    new_bucket,
    shown_bucket,
    timestamp,
)
from cos_customizer.emulator.storage.store import Store

_ALWAYS = ("location", "locationType", "storageClass", "iamConfiguration", "softDeletePolicy")
"""Fields that an update does not remove."""


class Buckets:
    """The methods of buckets; the arguments after the request are the names in its path.

    Args:
        store: where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def ensure(self, name: str, project: str) -> None:
        """Make a bucket unless it exists.

        Args:
            name: its name.
            project: whose it is.
        """
        if self._store.find_bucket(name) is not None:  # as nearly always, and nobody is to be waited for then
            return
        with self._store.lock:
            if self._store.find_bucket(name) is None:
                self._store.put_bucket(new_bucket(name, project, project_number(project), {}))

    def insert(self, request: Request) -> Resource:
        """Answer `buckets.insert`."""
        check_acl(request)
        fields = request.json()
        name = fields.get("name")
        check_new_bucket(name)
        project = _project(request)
        bucket = new_bucket(str(name), project, project_number(project), fields)
        with self._store.lock:
            if self._store.find_bucket(bucket["name"]) is not None:
                message = "Your previous request to create the named bucket succeeded and you already own it."
                raise ApiError(409, "conflict", message)
            self._store.put_bucket(bucket)
        return shown_bucket(bucket, request.endpoint)

    def list(self, request: Request) -> Resource:
        """Answer `buckets.list`: those of a project, or of all for what can be none (`<none>`, as some clients say)."""
        project, prefix = _project(request), request.query.get("prefix", "")
        size, after = request.number("maxResults") or MOST, from_token(request.query.get("pageToken", ""))
        numbers = (project, str(project_number(project)))
        found = [
            bucket
            for bucket in self._store.buckets()
            if bucket["name"].startswith(prefix)
            and bucket["name"] > after
            and (bucket["project"] in numbers or bucket["projectNumber"] in numbers or not _can_be(project))
        ]
        answer: Resource = {"kind": "storage#buckets"}
        page = found[: min(size, MOST)]
        if len(found) > len(page):
            answer["nextPageToken"] = to_token(page[-1]["name"])
        if page:
            answer["items"] = [shown_bucket(bucket, request.endpoint) for bucket in page]
        return answer

    def get(self, request: Request, bucket: str) -> Resource:
        """Answer `buckets.get`."""
        found = self._store.bucket(bucket)
        Conditions.of(request).check(found)
        return shown_bucket(found, request.endpoint)

    def patch(self, request: Request, bucket: str) -> Resource:
        """Answer `buckets.patch`."""
        return self._change(request, bucket, keep=True)

    def update(self, request: Request, bucket: str) -> Resource:
        """Answer `buckets.update`: what the request does not have is removed."""
        return self._change(request, bucket, keep=False)

    def _change(self, request: Request, bucket: str, keep: bool) -> Resource:
        self._store.check_changeable(bucket)
        check_acl(request)
        changes = bucket_fields(request.json())
        with self._store.lock:
            old = self._store.bucket(bucket)
            Conditions.of(request).check(old)
            for name in ("location", "locationType"):
                if str(changes.pop(name, None) or old[name]).upper() != old[name].upper():
                    raise invalid("The location of a bucket cannot be changed.")
            hidden = ("name", "project", "policy", "projectNumber", "timeCreated", *_ALWAYS)
            new = merged(old if keep else {key: old[key] for key in hidden if key in old}, changes)
            new |= {"metageneration": str(int(old["metageneration"]) + 1), "updated": timestamp()}
            self._store.put_bucket(new)
        return shown_bucket(new, request.endpoint)

    def delete(self, request: Request, bucket: str) -> Answer:
        """Answer `buckets.delete`."""
        self._store.check_changeable(bucket)
        with self._store.lock:
            Conditions.of(request).check(self._store.bucket(bucket))
            self._store.delete_bucket(bucket)
        return Answer(204)

    def objects(self, request: Request, bucket: str) -> Resource:
        """Answer `objects.list`."""
        return list_objects(self._store, request, bucket)

    def storage_layout(self, request: Request, bucket: str) -> Resource:  # noqa: ARG002
        """Answer `buckets.getStorageLayout`."""
        found = self._store.bucket(bucket)
        return {
            "kind": "storage#storageLayout",
            "bucket": bucket,
            "location": found["location"],
            "locationType": found["locationType"],
            "hierarchicalNamespace": {"enabled": False},
        }

    def iam_policy(self, request: Request, bucket: str) -> Resource:  # noqa: ARG002
        """Answer `buckets.getIamPolicy`."""
        found = self._store.bucket(bucket)
        project = found.get("project", "my-project")
        owners = [f"projectEditor:{project}", f"projectOwner:{project}"]
        bindings = [
            {"role": "roles/storage.legacyBucketOwner", "members": owners},
            {"role": "roles/storage.legacyBucketReader", "members": [f"projectViewer:{project}"]},
        ]
        if self._store.is_given(bucket):
            bindings = [{"role": "roles/storage.objectViewer", "members": ["allUsers"]}]
        policy = found.get("policy", {"version": 1, "etag": "CAE=", "bindings": bindings})
        return {"kind": "storage#policy", "resourceId": f"projects/_/buckets/{bucket}", **policy}

    def set_iam_policy(self, request: Request, bucket: str) -> Resource:
        """Answer `buckets.setIamPolicy`."""
        self._store.check_changeable(bucket)
        sent = request.json()
        bindings = sent.get("bindings", [])
        if not isinstance(bindings, list) or not all(isinstance(each, dict) and "role" in each for each in bindings):
            raise invalid("Invalid value for field 'bindings'.")
        with self._store.lock:
            present = self.iam_policy(request, bucket)
            if sent.get("etag", present["etag"]) != present["etag"]:
                raise ApiError(412, "conditionNotMet", "The policy was changed meanwhile: its etag is another one.")
            found = self._store.bucket(bucket)
            metageneration = str(int(found["metageneration"]) + 1)
            changed = {**found, "metageneration": metageneration, "updated": timestamp()}
            tag = shown_bucket(changed, "")["etag"]
            policy = {"version": sent.get("version", 1), "etag": tag, "bindings": bindings}
            self._store.put_bucket({**changed, "policy": policy})
            return self.iam_policy(request, bucket)

    def test_iam_permissions(self, request: Request, bucket: str) -> Resource:
        """Answer `buckets.testIamPermissions`: everybody has them all."""
        self._store.bucket(bucket)
        query = parse_qsl(urlsplit(request.target).query)
        permissions = [value for name, value in query if name == "permissions"]
        return {"kind": "storage#testIamPermissionsResponse", "permissions": permissions}

    def service_account(self, request: Request, project: str) -> Resource:  # noqa: ARG002
        """Answer `projects.serviceAccount.get`."""
        address = f"service-{project_number(project)}@gs-project-accounts.iam.gserviceaccount.com"
        return {"kind": "storage#serviceAccount", "email_address": address}


def _project(request: Request) -> str:
    if not (project := request.query.get("project")):
        raise ApiError(400, "required", "Required parameter: project")
    return project


def _can_be(project: str) -> bool:
    return is_project_id(project) or project.isdecimal()
