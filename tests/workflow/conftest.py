"""A small project, run once for all tests that ask what an edit makes stale."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_project import Project, copy_project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose whole workflow has run."""
    project = copy_project(tmp_path_factory.mktemp("finished") / "project")
    said = project.call()
    assert said.returncode == 0, said.stdout[-5000:]
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project, its times kept, for one test to edit."""
    shutil.copytree(finished.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")
