"""What is asked, who judges free answers, and which tables show the scores."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from himap.workflow.config.sections._section import Count, Each, Section, Some, Title


class Benchmark(Section):
    """A benchmark's data and protocol; what is left out is the benchmark's own default."""

    source: str = "hub"
    """`hub`, `mini` (drawn by the embedded world's generator), or a local file or folder of the published schema."""
    id: str | None = None
    """Hub id, if not the default one."""
    config: str | None = None
    """Hub config, if not the default one."""
    split: str | None = None
    """Split, if not the default one."""
    revision: str | None = None
    """Hub revision, if not the default one."""
    limit: Count | None = None
    """How many samples (groups where questions are only scored together: MME, MMBench); drawn with the seed unless the source is `mini`."""
    protocol: dict[str, Any] = {}
    """Options of the benchmark's protocol, e.g. `{ocr: false}` for TextVQA, or a prompt `template`."""
    max_new_tokens: Count | None = None
    """Longest answer, if not the benchmark's own limit."""
    shards: Count = 1
    """Into how many jobs each of its evaluations is cut."""


class Judge(Section):
    """The judge of LLaVA-Bench and MM-Vet, an OpenAI-compatible endpoint; the key comes from HIMAP_JUDGE_API_KEY or OPENAI_API_KEY."""

    base_url: str
    """Address of the endpoint, e.g. https://api.openai.com/v1."""
    model: str | None = None
    """Name of the judging model; the benchmark's official judge if left out."""
    runs: Count | None = None
    """How often each answer is judged; as officially if left out."""
    concurrency: Count = 8
    """Requests under way at a time."""
    timeout: Annotated[float, Field(gt=0)] = 120
    """Seconds for one request, from the connection to the last byte."""
    attempts: Count = 8
    """How often a request that fails is sent before the job gives up."""
    unreadable: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share of the verdicts that may be unreadable after all tries: they are left out of the score, with a note; more fail the job."""
    cache: str = ".cache/judge"
    """Folder, readable by you alone, in which every readable verdict is kept for good, so that none is paid twice."""


class Table(Section):
    """A table: which methods on which benchmarks."""

    title: Title
    """Its caption."""
    benchmarks: Each[str]
    """Columns; those that the config has no entry for are left out."""
    methods: Annotated[Each[str], Some]
    """Rows."""
    models: Annotated[Each[str], Some] | None = None
    """Models; all of the config if left out."""
    budgets: Annotated[list[int | float | str], Some] | None = None
    """Each method but `vanilla` at each of these mean numbers of image tokens (`tokens_of`), with what only such a table can show."""
    judged: bool = True
    """Whether judged benchmarks are shown also while no judge is configured (as answers without a score)."""
    latex_rows: Each[Literal["interval", "paper"]] = []
    """Rows that the LaTeX form has below each of ours: its 95 % intervals, the paper's values."""
