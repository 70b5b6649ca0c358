"""Objects of the sandbox's S3, for those parts of AWS IoT that read them. Within a request's account."""


class Objects:
    """MiniStack's S3, without its HTTP."""

    def __init__(self) -> None:
        from ministack.services import s3

        self._s3 = s3

    def versioned(self, bucket: str) -> bool | None:
        """Whether a bucket keeps versions; None: there is no such bucket."""
        if self._s3._ensure_bucket(bucket) is None:
            return None
        return bool(self._s3._bucket_versioning.get(bucket) == "Enabled")

    def read(self, bucket: str, key: str, version: str | None) -> bytes | None:
        """The content of an object; None: there is no such object."""
        content: bytes | None = self._s3._get_object_data(bucket, key, version)
        return content
