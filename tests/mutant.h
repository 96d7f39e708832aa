/* Mutants of the shipped protocols, as the labs make them. */
#include "examples/labs/grader/mutant.h"
