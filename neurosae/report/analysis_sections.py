"""Sections of a report on analyses: contrasts and ROIs, RSA, selectivity, decoding."""

from dataclasses import replace

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from neurosae.plotting import (
    plot_contrast_map,
    plot_decoding,
    plot_held_out,
    plot_layer_profile,
    plot_rdm,
    plot_selectivity,
    plot_token_strip,
    plot_tuning,
)
from neurosae.plotting.style import QUIET
from neurosae.protocol.tables import ContrastPlan, DecodingPlan, RsaPlan, SelectivityPlan
from neurosae.recording.sparse import SparseRecording
from neurosae.report.context import Basis, Study
from neurosae.report.figures import Picture, picture
from neurosae.report.findings import (
    Finding,
    count_units,
    half_depth,
    held_out_finding,
    layer_finding,
    number,
)
from neurosae.report.prose import say
from neurosae.report.section import Section, Table
from neurosae.report.steps import ALPHA, most_selective
from neurosae.schema.names import FEATURE, LAYER, STIMULUS


def contrast_section(study: Study, table: ContrastPlan) -> Section:
    """The map of a contrast, its ROI, and the ROI's response in held-out stimuli."""
    cmap = study.shelf.dataset(f"contrast_map-{table.name}")
    passed = cmap["p_adjusted"] <= ALPHA
    signs = np.sign(cmap["effect"].where(passed))
    n = count_units(cmap)
    text = say(
        "contrast",
        cmap=cmap,
        passed=int(passed.sum()),
        up=int((signs > 0).sum()),
        down=int((signs < 0).sum()),
        n=n,
    )
    count = Finding(
        f"{table.name}: features that pass",
        "count",
        float(passed.sum()),
        n=n,
        note=f"of {cmap.attrs['family_size']}, {cmap.attrs['test']}, {cmap.attrs['correct']}",
    )
    more, pictures, findings = _roi_parts(study, table, cmap) if table.localize else ((), (), ())
    roi = study.shelf.dataset(f"roi-{table.name}") if table.localize else None
    overview = picture(plot_contrast_map(cmap, roi=roi), say("map_caption", cmap=cmap), wide=True)
    return Section(
        f"Contrast: {table.contrast}{_of(table)}",
        f"contrast-{table.name}",
        (text, *more),
        pictures=(overview, *pictures),
        findings=(count, *findings),
    )


def _roi_parts(
    study: Study, table: ContrastPlan, cmap: xr.Dataset
) -> tuple[tuple[str, ...], tuple[Picture, ...], tuple[Finding, ...]]:
    layer, feature = _strongest(cmap)
    strip = picture(
        _strip(study, table, layer, feature), say("strip_caption", layer=layer, feature=feature), wide=True
    )
    per_layer = study.shelf.dataset(f"roi-{table.name}")["member"].sum(FEATURE)
    size = {
        "n_members": int(per_layer.sum()),
        "fullest": int(per_layer[LAYER].values[int(np.argmax(per_layer.values))]),
        "n_fullest": int(per_layer.max()),
    }
    if table.localize is None or table.localize.folds is None:
        return (say("roi", **size),), (strip,), ()
    held_out = study.shelf.dataset(f"held_out-{table.name}")
    finding = held_out_finding(table.name, held_out)
    text = say("held_out", held_out=held_out, finding=finding, n=count_units(held_out))
    overview = picture(plot_held_out(held_out), say("held_out_caption"))
    return (f"{say('roi', **size)} {text}",), (overview, strip), (finding,)


def _strongest(cmap: xr.Dataset) -> tuple[int, int]:
    row, column = np.unravel_index(int(np.nanargmax(cmap["stat"].values)), cmap["stat"].shape)
    return int(cmap[LAYER].values[row]), int(cmap[FEATURE].values[column])


def _strip(study: Study, table: ContrastPlan, layer: int, feature: int) -> Axes:
    recording = study.recording(table)
    conditions = recording["condition"].values
    labels = recording[STIMULUS].values
    chosen = [str(label) for name in dict.fromkeys(conditions) for label in labels[conditions == name][:2]]
    if isinstance(recording, SparseRecording):
        recording = recording.sel(stimulus=chosen[:6], layer=layer, feature=feature).to_xarray()
    return plot_token_strip(recording, stimuli=chosen[:6], layer=layer, feature=feature)


def _of(table: Basis) -> str:
    """What a title adds where codes are analysed and not the model's own units."""
    return f", codes of {table.dictionary}" if table.dictionary else ""


def rsa_section(study: Study, table: RsaPlan) -> Section:
    """The RDM, its fit to the category model, and the category index over layers."""
    category = study.shelf.dataset(f"category_rsa-{table.name}")
    fit = study.shelf.dataset(f"compare_rdms-{table.name}")
    rdm = study.shelf.array(f"rdm-{table.name}")
    layer = half_depth(category)
    finding = layer_finding(f"{table.name}: {table.index}", table.index, category, "index")
    fitted = layer_finding(f"{table.name}: fit of the category model", table.method, fit, "similarity")
    text = say(
        "rsa",
        table=table,
        finding=finding,
        fit=fit.sel(layer=layer),
        fit_finding=fitted,
        layer=layer,
        n_layers=category.sizes[LAYER],
        passed=int((category["p_adjusted"] <= ALPHA).sum()),
    )
    at_layer = rdm.sel({LAYER: layer}) if LAYER in rdm.dims else rdm
    pictures = (
        picture(_index_profile(category), say("index_caption", table=table)),
        picture(plot_layer_profile(fit, "similarity"), say("fit_caption", table=table)),
        picture(plot_rdm(at_layer, by=table.condition), say("rdm_caption", table=table, layer=layer)),
    )
    findings = (finding, fitted)
    title = f"RSA: {table.name} ({table.index}){_of(table)}"
    return Section(title, f"rsa-{table.name}", (text,), pictures=pictures, findings=findings)


def _index_profile(category: xr.Dataset) -> Axes:
    """The index over layers, on a logarithmic scale where it is in units that grow with the layers' norms."""
    ax = plot_layer_profile(category, "index")
    if category["index"].attrs.get("units", "1") != "1" and float(category["index"].min()) > 0:
        ax.set_yscale("log", nonpositive="mask")
    return ax


def selectivity_section(study: Study, table: SelectivityPlan) -> Section:
    """How selective single features are, against the null, and how the most selective are tuned."""
    index = study.shelf.dataset(f"selectivity-{table.name}")
    curves = study.shelf.dataset(f"tuning-{table.name}")
    passed = (index["q_fdr"] <= ALPHA).values
    names, counts = np.unique(index["preferred"].values[passed], return_counts=True)
    n = count_units(index)
    text = say(
        "selectivity",
        table=table,
        passed=int(passed.sum()),
        live=int(index["valid"].sum()),
        shares=", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True)),
        n=n,
    )
    chosen = most_selective(index)
    tuned = [
        picture(plot_tuning(curves, layer=layer, feature=feature), say("tuning_caption"))
        for layer, feature in chosen
    ]
    return Section(
        f"Selectivity: {table.name} ({table.index}){_of(table)}",
        f"selectivity-{table.name}",
        (text,),
        tuple(_top_table(study, table.name, layer, feature) for layer, feature in chosen),
        (picture(plot_selectivity(index), say("selectivity_caption")), *tuned),
        (
            Finding(
                f"{table.name}: selective features",
                "count",
                float(passed.sum()),
                n=n,
                note=f"{table.index}, q ≤ 0.05",
            ),
        ),
    )


def _top_table(study: Study, name: str, layer: int, feature: int) -> Table:
    top = study.shelf.dataset(f"top_stimuli-{name}-{layer}-{feature}")
    rows = tuple(
        (number(float(response)), str(condition), str(text))
        for response, condition, text in zip(
            top["response"].values, top["condition"].values, top["text"].values, strict=True
        )
    )
    return Table(
        ("response", "condition", "text"), rows, (0,), say("top_caption", layer=layer, feature=feature)
    )


def decoding_section(study: Study, table: DecodingPlan) -> Section:
    """How well conditions are decoded from held-out units, by layer."""
    decoding = study.shelf.dataset(f"decode-{table.name}")
    layer = half_depth(decoding)
    finding = layer_finding(
        f"decoding of {table.condition}{_of(table)}", "AUROC", decoding, "auroc", headline=True
    )
    text = say(
        "decoding",
        table=table,
        decoding=decoding,
        finding=finding,
        accuracy=decoding["balanced_accuracy"].sel(layer=layer),
        layer=layer,
        n_layers=decoding.sizes[LAYER],
        passed=int((decoding["p_adjusted"] <= ALPHA).sum()),
    )
    surface = study.shelf.dataset(f"surface-{table.name}")
    baseline = layer_finding(f"{table.name}: decoding from the surface of texts", "AUROC", surface, "auroc")
    baseline = replace(baseline, note="no model")
    figure = picture(_with_surface(plot_decoding(decoding), baseline), say("decoding_caption"))
    return Section(
        f"Decoding: {table.condition}{_of(table)}",
        f"decoding-{table.name}",
        (text, say("surface", finding=baseline)),
        pictures=(figure,),
        findings=(finding, baseline),
    )


def _with_surface(ax: Axes, baseline: Finding) -> Axes:
    """A line at the AUROC of the surface of the texts."""
    ax.axhline(baseline.effect, color=QUIET, lw=1, ls="-.", label="surface of the texts, no model")
    ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return ax
