"""English words that say nothing of their own: they stand between the phrases of a sentence (RAKE: Rose et al. 2010)."""

STOPWORDS = frozenset(
    """
    a about above across after again against all almost along already also although always am among an and another any anyone anything are
    around as at away back be became because become been before behind being below beneath beside besides between beyond both but by called came
    can cannot could did do does doing done down during each either else enough even ever every everyone everything few for from gave get gets
    give go goes got had has have having he her here hers herself him himself his how however i if in inside instead into is it its itself just
    kept knew know known last later left less let like made make makes many may me mine more most much must my named near never next no nobody
    none nor not nothing now of off often on once one only onto or other others our out outside over own per perhaps quite rather said same say
    says she should since so some somebody someone something still such than that the their theirs them themselves then there these they thing
    things this those though through till to today together too took toward towards under until up upon us used very was we went were what
    whatever when where whether which while who whom whose why will with within without would yes yet you your
    """.split()  # noqa: SIM905
)
