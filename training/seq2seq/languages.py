"""mBART-50's language codes (Tang et al. 2020, arXiv:2008.00401) for ours."""

from __future__ import annotations

from typing import Final

from adapters.errors import InvalidId

CODES: Final = (
    "af_ZA", "ar_AR", "az_AZ", "bn_IN", "cs_CZ", "de_DE", "en_XX", "es_XX", "et_EE", "fa_IR",
    "fi_FI", "fr_XX", "gl_ES", "gu_IN", "he_IL", "hi_IN", "hr_HR", "id_ID", "it_IT", "ja_XX",
    "ka_GE", "kk_KZ", "km_KH", "ko_KR", "lt_LT", "lv_LV", "mk_MK", "ml_IN", "mn_MN", "mr_IN",
    "my_MM", "ne_NP", "nl_XX", "pl_PL", "ps_AF", "pt_XX", "ro_RO", "ru_RU", "si_LK", "sl_SI",
    "sv_SE", "sw_KE", "ta_IN", "te_IN", "th_TH", "tl_XX", "tr_TR", "uk_UA", "ur_PK", "vi_VN",
    "xh_ZA", "zh_CN",
)  # fmt: skip
_BY_LANGUAGE: Final = {code.partition("_")[0]: code for code in CODES}
# A variety of a known language that the model was not taught to write.
_UNKNOWN: Final = ("zh_hant", "zh_tw", "zh_hk")


def mbart_code(language: str) -> str:
    """Return mBART-50's code of `language` (`de`, `pt_br`, `zh_hans`). Raises InvalidId."""
    code = _BY_LANGUAGE.get(language.partition("_")[0])
    if code is None or language.startswith(_UNKNOWN):
        known = ", ".join(_BY_LANGUAGE)
        raise InvalidId(
            f"mBART-50 does not know the language {language!r}; it knows {known} "
            "(Chinese in simplified characters only); choose another base for this pair"
        )
    return code
