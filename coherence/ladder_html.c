#include "coherence/ladder.h"
void coh_ladder_html(FILE *out, const struct coh_ladder *ladder)
{
}
