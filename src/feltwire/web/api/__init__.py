"""The API: one module a resource, all below `/api/v1`."""

from fastapi import APIRouter

from feltwire.web.api import corrections, explain, posts, push, score, status, stream, terms, tracks, windows

router = APIRouter(prefix="/api/v1")
for _resource in (score, posts, windows, terms, explain, tracks, corrections, status, stream, push):
    router.include_router(_resource.router)
