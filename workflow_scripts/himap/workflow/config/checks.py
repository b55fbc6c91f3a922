"""Checks across the config's fields: every name is known, every layer exists, every method fits its models.

They look at what will run, defaults included: what nothing uses need not fit. They pass over what is missing or of the
wrong type (the typed check reports that), so that both kinds of problem are found in one go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from itertools import chain, pairwise, product
from pathlib import Path
from typing import Any

from himap.benchmarks import get as benchmark_named
from himap.benchmarks import names as benchmark_names
from himap.benchmarks._judge import address_problem
from himap.figures import names as figure_names
from himap.models.sizes import Dims
from himap.project import ROOT
from himap.pruning.criteria import names as criterion_names
from himap.pruning.resolve import FORMS, kind_taken, resolve, two_stages
from himap.pruning.stage import stage_problems
from himap.registry import hint

Problem = tuple[str, str]
Use = tuple[str, str, str]  # a model, a kind of task, a method


def cross_checks(filled: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield all problems between fields as (path, line), of a config with and without the built-in methods and tables."""
    raw = with_defaults(filled)
    asked = runs(raw)
    used = asked | {(model, kind, other) for model, kind, name in asked for other in taken_from(raw, model, name)}
    checks = (
        check_models(raw),
        check_benchmarks(raw),
        check_methods(raw, used),
        check_resolved(raw, asked, used),
        check_references(raw),
        check_disruption(raw),
        check_grid(raw),
        check_judge(raw),
        check_scripts(given, ""),
    )
    for path, line in chain.from_iterable(checks):
        yield path, line + origin_of(path, given)


def with_defaults(filled: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config with the defaults of each section laid under its own keys."""
    from himap.workflow.config.schema import Config, Section

    whole = dict(filled)
    for name, field in Config.model_fields.items():
        if isinstance(field.default, Section) and isinstance(filled.get(name, {}), Mapping):
            whole[name] = {**field.default.model_dump(), **filled.get(name, {})}
    return whole


def origin_of(path: str, given: Mapping[str, Any]) -> str:
    """Return where a wrong value comes from if the config does not name it, and what to do."""
    part, _, rest = path.partition(".")
    key = re.split(r"[.\[]", rest)[0]
    if part == "methods" and key not in section(given, part):
        return (
            f" (built in; give `methods.{key}` stages of your own, or name it in no table and not in `latency.methods`)"
        )
    if part in ("disruption", "grid") and (key not in section(given, part) if key else part not in given):
        where = f"{part}.{key}" if key else part
        return f" (the default; give `{where}` values of your own, or leave it out with `{part}: {{benchmarks: []}}`)"
    return ""


def check_scripts(value: Any, at: str) -> Iterator[Problem]:
    """No text of the config, key or value, could run as a script where Snakemake's own report copies the settings in."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            place = f"{at}.{key}" if at else str(key)
            yield from check_scripts(key, place)
            yield from check_scripts(item, place)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from check_scripts(item, f"{at}[{number}]")
    elif isinstance(value, str) and (tag := re.search(r"</?script|<!--", value, re.IGNORECASE)):
        yield at, f"{tag[0]!r} is not allowed in a config: Snakemake's own report would run it; use other words"


def check_judge(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """The judge's address is one of an endpoint, and holds no secret: addresses appear in logs and notes."""
    address = section(raw, "judge").get("base_url")
    if isinstance(address, str) and ("@" in address or "?" in address):
        line = "an address without user, password or query is needed; the key comes from HIMAP_JUDGE_API_KEY or OPENAI_API_KEY"
        yield "judge.base_url", line
    elif isinstance(address, str) and (problem := address_problem(address)):
        yield "judge.base_url", problem


def section(raw: Any, *keys: str) -> Mapping[str, Any]:
    """The mapping at a path, or an empty one."""
    for key in keys:
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return raw if isinstance(raw, Mapping) else {}


def items(value: Any) -> list[tuple[int, Any]]:
    """The items of a list with their positions, or nothing."""
    return list(enumerate(value)) if isinstance(value, list) else []


def texts(value: Any) -> list[str]:
    """The texts of a list, or nothing."""
    return [one for _, one in items(value) if isinstance(one, str)]


def check_models(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Each model is either a local folder or a pinned hub id with its sizes."""
    models = section(raw, "models")
    if "models" in raw and isinstance(raw["models"], Mapping) and not models:
        yield "models", "at least one model is needed"
    for name in models:
        model, at = section(models, name), f"models.{name}"
        if (model.get("path") is None) == (model.get("id") is None):
            yield at, "needs either `path` (a local folder) or `id` (a hub id), not both and not neither"
        elif model.get("id") is not None:
            for key in ("revision", "dims"):
                if model.get(key) is None:
                    yield f"{at}.{key}", "is required with `id`"
        elif model.get("convert") and model.get("dims") is None:
            yield f"{at}.dims", "is required with `convert`"
        elif isinstance(model["path"], str) and not (ROOT / model["path"] / "config.json").is_file():
            yield f"{at}.path", f"{model['path']!r} holds no config.json; give the folder of a checkpoint"
        yield from check_conversion(model, at)


def check_conversion(model: Mapping[str, Any], at: str) -> Iterator[Problem]:
    """A vision tower goes with a conversion; hub ids have a revision; what is compared is LLaVA-v1.5."""
    for key in ("tower", "tower_revision"):
        if model.get(key) is not None and not model.get("convert"):
            yield f"{at}.{key}", "is only allowed together with `convert`"
    tower = model.get("tower")
    if isinstance(tower, str) and not (ROOT / tower).is_dir() and model.get("tower_revision") is None:
        yield f"{at}.tower_revision", f"is required: {tower!r} is no folder, so it is taken from the hub"
    if (original := model.get("original")) is None:
        return
    if model.get("family", "llava") != "llava":
        yield f"{at}.original", "is only allowed with the family llava: the original implementation runs no other"
    original = section(model, "original")
    if (original.get("path") is None) == (original.get("id") is None):
        yield f"{at}.original", "needs either `path` (a local folder) or `id` (a hub id), not both and not neither"
    elif original.get("id") is not None and original.get("revision") is None:
        yield f"{at}.original.revision", "is required with `id`"


def check_benchmarks(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Each benchmark is known, its source exists, its protocol options are its own."""
    benchmarks = section(raw, "benchmarks")
    if "benchmarks" in raw and isinstance(raw["benchmarks"], Mapping) and not benchmarks:
        yield "benchmarks", "at least one benchmark is needed"
    for name in benchmarks:
        entry, at = section(benchmarks, name), f"benchmarks.{name}"
        if name not in benchmark_names():
            yield at, "unknown benchmark" + hint(name, benchmark_names())
            continue
        source = entry.get("source", "hub")
        if isinstance(source, str) and source not in ("hub", "mini") and not (ROOT / source).exists():
            yield f"{at}.source", f"{source!r} is neither `hub` nor `mini` nor a file or folder that exists"
        # The file is looked for and not imported: reading a config takes no numpy.
        mini = Path("workflow_scripts/himap/mini/benchmarks") / f"{name}.py"
        if source == "mini" and not (ROOT / mini).is_file():
            yield f"{at}.source", f"the embedded world has no benchmark {name!r}; add {mini} or choose another source"
        if isinstance(entry.get("protocol"), Mapping):
            try:
                benchmark_named(name).protocol(entry["protocol"])
            except ValueError as error:
                yield f"{at}.protocol", str(error)


def check_methods(raw: Mapping[str, Any], used: set[Use]) -> Iterator[Problem]:
    """Each method is in order by itself, and all of them end at stages."""
    methods = section(raw, "methods")
    for name in methods:
        yield from check_method(raw, name, used)
    yield from check_vanilla(section(methods, "vanilla"))
    yield from check_cycles(methods)


ALTERED = ("rerank", "protocol", "dtype")  # what makes another run of a method without stages


def check_vanilla(method: Mapping[str, Any]) -> Iterator[Problem]:
    """The method that all others are compared with drops nothing."""
    entries = [method, *(section(method, "models", model) for model in section(method, "models"))]
    stages = [entry.get("stages") for entry in entries]
    lists = [one for each in stages for one in (each.values() if isinstance(each, Mapping) else [each])]
    if any(lists) or any(method.get(form) for form in FORMS if form != "stages") or any(map(method.get, ALTERED)):
        yield (
            "methods.vanilla",
            "must stay the model as it is (`stages: []`), as all others are compared with it; give this method another name",
        )


def check_method(raw: Mapping[str, Any], name: str, used: set[Use]) -> Iterator[Problem]:
    """A method names known criteria and methods, and its stages fit every model that it runs on."""
    methods, models = section(raw, "methods"), section(raw, "models")
    method, at = section(methods, name), f"methods.{name}"
    ways = [key for key in FORMS if method.get(key) is not None]
    if len(ways) != 1:
        yield at, f"must say what it does by exactly one of {', '.join(FORMS)}; it has {', '.join(ways) or 'none'}"
    for key in ("like", "flops_of"):
        if isinstance(other := method.get(key), str) and other not in methods:
            yield f"{at}.{key}", f"unknown method {other!r}" + hint(other, methods)
    if any(method.get(key) for key in ("every_layer", "before_decoder", "downsample")) and not method.get("flops_of"):
        yield f"{at}.flops_of", "is required: the method whose FLOPs are to be met"
    for key in ("criterion", "criteria", "only", "relative"):
        if method.get(key) is not None and not method.get("like"):
            yield f"{at}.{key}", "is only allowed together with `like`"
    yield from check_criteria(method, at)
    special = section(method, "models")
    runs_on = {(model, kind) for model, kind, other in used if other == name and model in models}
    general = {(model, kind) for model, kind in runs_on if model not in special}
    yield from check_stages(raw, method.get("stages"), f"{at}.stages", general)
    for model in special:
        own = {task for task in runs_on if task[0] == model}
        yield from check_stages(raw, section(special, model).get("stages"), f"{at}.models.{model}.stages", own)


def check_criteria(method: Mapping[str, Any], at: str) -> Iterator[Problem]:
    """The criteria that a method names outside its stages are known."""
    named = [(f"{at}.criterion", method.get("criterion"))]
    named += [(f"{at}.criteria[{index}]", one) for index, one in items(method.get("criteria"))]
    named += [
        (f"{at}.{key}.criterion", section(method, key).get("criterion")) for key in ("every_layer", "before_decoder")
    ]
    for path, criterion in named:
        if isinstance(criterion, str) and criterion not in criterion_names():
            yield path, f"unknown criterion {criterion!r}" + hint(criterion, criterion_names())


def check_stages(raw: Mapping[str, Any], stages: Any, at: str, runs_on: set[tuple[str, str]]) -> Iterator[Problem]:
    """Yield what the library says of a method's stages on the models and kinds in use, and stages that drop nothing."""
    if isinstance(stages, Mapping):
        for key, listed in stages.items():
            own = {(model, kind) for model, kind in runs_on if kind_taken(stages, kind) == key}
            yield from check_stages(raw, listed if isinstance(listed, list) else None, f"{at}.{key}", own)
        return
    listed = stages if isinstance(stages, list) else []
    models = {model: depth_of(raw, model) for model in sorted({model for model, _ in runs_on})}
    for model, layers in (models or {"the model": None}).items():
        for path, problem in stage_problems(listed, layers=layers, model=model):
            yield at + path, problem
    keeps = [stage.get("keep") if isinstance(stage, Mapping) else None for stage in listed]
    for index, (before, keep) in enumerate(pairwise(keeps), start=1):
        # the library allows this for computed schedules; written by hand it is a share taken for one of what is left
        if keep == before and isinstance(keep, int | float):
            yield (
                f"{at}[{index}].keep",
                f"{keep} is what the stage before keeps, so nothing is dropped; shares are of the original image tokens",
            )


def check_cycles(methods: Mapping[str, Any]) -> Iterator[Problem]:
    """Definitions by reference must end at a method with stages."""
    for name in methods:
        chain = definitions(methods, name)
        if chain[-1] in chain[:-1]:
            yield f"methods.{name}", f"is defined in a circle: {' -> '.join(chain)}"


def definitions(methods: Mapping[str, Any], name: str) -> list[str]:
    """A method and those that it is defined by, one by the other; in a circle the last has been named before."""
    names = [name]
    while names[-1] not in names[:-1] and (other := reference(methods, names[-1])) in methods:
        names.append(other)
    return names


def taken_from(raw: Mapping[str, Any], model: str, name: str) -> Iterator[str]:
    """Yield the methods whose stages a method takes on a model, itself included; stages of the model's own end the search."""
    methods = section(raw, "methods")
    for other in definitions(methods, name):
        yield other
        if model in section(methods, other, "models"):
            return


def reference(methods: Mapping[str, Any], name: str) -> str:
    """The method that a method is defined by, or nothing."""
    method = section(methods, name)
    return str(method.get("like") or method.get("flops_of") or "")


def check_resolved(raw: Mapping[str, Any], asked: set[Use], used: set[Use]) -> Iterator[Problem]:
    """Methods that are in order by themselves also are on each model and kind of task that they run on."""
    methods, sizes = sound_methods(raw, used), sizes_of_models(raw)

    @cache
    def trouble(model: str, kind: str, name: str) -> str | None:
        try:
            resolve(name, sizes[model], methods=methods, kind=kind, model=model)
        except ValueError as error:
            return f"on {model} ({kind}): {str(error).removeprefix(f'method {name!r}: ')}"
        return None

    for model, kind, name in sorted(asked):
        if model in sizes and name in methods and trouble(model, kind, name):
            chosen = [other for other in taken_from(raw, model, name) if other in methods]
            root = next(other for other in reversed(chosen) if trouble(model, kind, other))  # said once, of the cause
            yield f"methods.{root}", str(trouble(model, kind, root))


def sound_methods(raw: Mapping[str, Any], used: set[Use]) -> dict[str, dict[str, Any]]:
    """The methods without a mistake of their own or in what they are defined by, as the library takes them."""
    from himap.workflow.config.schema import Method

    methods = section(raw, "methods")
    sound: dict[str, dict[str, Any]] = {}
    for name in methods:
        with suppress(ValueError):
            if not any(check_method(raw, name, used)):
                sound[name] = Method.model_validate(methods[name]).model_dump(exclude_none=True)
    chains = [definitions(methods, name) for name in sound]
    return {chain[0]: sound[chain[0]] for chain in chains if set(chain) <= set(sound) and chain[-1] not in chain[:-1]}


def sizes_of_models(raw: Mapping[str, Any]) -> dict[str, Dims]:
    """The sizes of the models whose entries are in order."""
    from himap.workflow.config.model_sizes import dims_of
    from himap.workflow.config.schema import Model

    found = {}
    for name, entry in section(raw, "models").items():
        with suppress(ValueError, OSError, KeyError):
            found[name] = dims_of(Model.model_validate(entry))
    return found


def runs(raw: Mapping[str, Any]) -> set[Use]:
    """Return what tables, latency and Figure 7 ask for; the config's own methods that none shows run on all."""
    from himap.workflow.config.builtin import builtin_methods

    methods, models, known = section(raw, "methods"), section(raw, "models"), benchmark_names()
    tasks = {name: benchmark_named(name) for name in section(raw, "benchmarks") if name in known}
    asked: set[Use] = set()
    for name in section(raw, "tables"):
        table = section(raw, "tables", name)
        judged = table.get("judged", True) or raw.get("judge") is not None
        columns = [name for name in texts(table.get("benchmarks")) if name in tasks]
        kinds = {tasks[name].task for name in columns if judged or not tasks[name].judged}
        asked |= set(product(texts(table.get("models")) or models, kinds, texts(table.get("methods"))))
    latency = section(raw, "latency")
    timed = {tasks[name].task for name in texts(latency.get("benchmarks")) if name in tasks}
    shown_with = {(model, kind) for model, kind, _ in asked} | set(product(models, timed))  # Figure 7 has all kinds
    asked |= {(*task, name) for task, name in product(shown_with, texts(latency.get("methods")))}
    shown, builtin = {name for _, _, name in asked}, builtin_methods()
    own = {name for name in methods if methods[name] != builtin.get(name)} - shown
    return asked | set(product(models, {task.task for task in tasks.values()}, own))


def check_references(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Tables and analyses name methods, models and benchmarks that exist; layers are within the models."""
    methods = section(raw, "methods")
    for name in section(raw, "tables"):
        table, at = section(raw, "tables", name), f"tables.{name}"
        if name in taken_names():
            yield at, "is the name of another target; choose a different one"
        yield from unknown_names(table, at, "methods", methods)
        yield from unknown_names(table, at, "models", section(raw, "models"))
        yield from unknown_names(table, at, "benchmarks", benchmark_names())
    for key in ("saliency", "disruption", "latency", "grid"):
        yield from unknown_names(section(raw, key), key, "benchmarks", benchmark_names())
    yield from unknown_names(section(raw, "latency"), "latency", "methods", methods)
    verified = section(raw, "verification").get("benchmark")
    if isinstance(verified, str) and verified not in benchmark_names():
        yield "verification.benchmark", f"unknown benchmark {verified!r}" + hint(verified, benchmark_names())


@cache
def taken_names() -> frozenset[str]:
    """What cannot be a table's name: the rules, the figures, and what `./reproduce` does itself."""
    files = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
    rules = [name for file in files for name in re.findall(r"^rule (\w+):", file.read_text("utf-8"), re.MULTILINE)]
    return frozenset({*rules, *figure_names(), "estimate", "status"})


def unknown_names(entry: Mapping[str, Any], at: str, key: str, known: Any) -> Iterator[Problem]:
    """The names in a list that are not known."""
    for index, name in items(entry.get(key)):
        if isinstance(name, str) and name not in known:
            yield f"{at}.{key}[{index}]", f"unknown {key.removesuffix('s')} {name!r}" + hint(name, known)


def used_benchmarks(raw: Mapping[str, Any], part: str) -> list[tuple[int, str]]:
    """Return the benchmarks of an analysis that the config has, with their positions; without one, nothing of it runs."""
    known = [name for name in section(raw, "benchmarks") if name in benchmark_names()]
    return [(index, name) for index, name in items(section(raw, part).get("benchmarks")) if name in known]


def check_disruption(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """The layers are within each model, Figure 6 has both flows that it compares, and answers that must be right have a score."""
    used, part = used_benchmarks(raw, "disruption"), section(raw, "disruption")
    if not used:
        return
    for index, layer in items(part.get("layers")):
        for model in section(raw, "models"):
            depth = depth_of(raw, model)
            if isinstance(layer, int) and depth is not None and layer >= depth:
                yield (
                    f"disruption.layers[{index}]",
                    f"{layer} is not a layer of {model}, which has {depth} (0 to {depth - 1})",
                )
    flows = part.get("flows")
    if missing := [flow for flow in ("img2txt", "img2img") if isinstance(flows, list) and flows and flow not in flows]:
        yield (
            "disruption.flows",
            f"{flows} lacks {' and '.join(missing)}; Figure 6 compares img2txt with img2img, add it",
        )
    for index, name in used:
        if part.get("only_correct") and benchmark_named(name).judged:
            line = f"{name!r} is judged, so no answer is known to be right; set `disruption.only_correct: false` or leave it out"
            yield f"disruption.benchmarks[{index}]", line


def check_grid(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """The grid's layers are within each model, at least one of its points is in order, and its benchmarks have scores."""
    from himap.workflow.config.schema import Grid

    used, grid = used_benchmarks(raw, "grid"), section(raw, "grid")
    if not used:
        return
    for index, name in used:
        if benchmark_named(name).judged:
            yield f"grid.benchmarks[{index}]", f"{name!r} is judged; a grid needs a benchmark that is scored by rules"
    with suppress(ValueError):
        points = Grid.model_validate(grid)
        if not two_stages(points.k1, points.r1, points.k2, points.r2):
            yield (
                "grid",
                "has no schedule whose deep stage comes after its shallow one (k2 > k1) and keeps no more (r2 <= r1)",
            )
    for key in ("k1", "k2"):
        for index, layer in items(grid.get(key)):
            for model in section(raw, "models"):
                depth = depth_of(raw, model)
                if isinstance(layer, int) and depth is not None and layer >= depth - 1:
                    yield f"grid.{key}[{index}]", f"{layer} is not below the last layer of {model}, which has {depth}"


def depth_of(raw: Mapping[str, Any], model: Any) -> int | None:
    """How many layers a model has, from its entry or its folder; None while that cannot be known."""
    entry = section(raw, "models", str(model))
    layers = section(entry, "dims").get("layers")
    if isinstance(layers, int):
        return layers
    path = entry.get("path")
    return depth_of_folder(path) if isinstance(path, str) else None


@cache
def depth_of_folder(path: str) -> int | None:
    """The depth written in a checkpoint's config.json."""
    from himap.workflow.config.model_sizes import local_dims

    try:
        return local_dims(ROOT / path).layers
    except (ValueError, OSError, KeyError):
        return None
