# What every lab's Makefile includes. FILES is what the student writes; its C files become student.so, which the judge loads.
#   make grade   STUDENT=name      whose numbers          JSON=file   the result, for a course's grader
#                LEAST=points      exit status 1 below so many
#                UMA=path          a built checkout of libuma, or where it is installed
#                WORK=folder       grade the files there  OUT=folder  build there
LABS    := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
HEADERS := $(firstword $(wildcard $(LABS)/headers) $(LABS)/../..)
UMA     ?= $(firstword $(patsubst %/include/uma.h,%,$(wildcard $(LABS)/../../include/uma.h /usr/local/include/uma.h /usr/include/uma.h)))
LIBRARY  = $(firstword $(wildcard $(UMA)/build/libuma.so $(UMA)/lib/libuma.so))
STUDENT ?=
WORK    ?= .
OUT     ?= build
CC      ?= gcc
CFLAGS  ?= -O2 -g
C_FLAGS  = -std=gnu11 -D_GNU_SOURCE -Wall -Wno-unused-parameter $(CFLAGS) -I. -I$(LABS)/grader -I$(HEADERS) -I$(UMA)/include
STUDENT_C = $(addprefix $(WORK)/,$(filter %.c,$(FILES)))

# For the shell, within single quotes
quoted = $(subst ','\'',$(1))

.PHONY: grade hint clean $(OUT)/student.so
grade: $(OUT)/grade $(if $(STUDENT_C),$(OUT)/student.so)
	@$(OUT)/grade --student '$(call quoted,$(STUDENT))' --work "$(WORK)" --out "$(OUT)" $(if $(JSON),--json "$(JSON)") $(if $(LEAST),--least $(LEAST))

hint: $(OUT)/grade
	@$(OUT)/grade --hint --student '$(call quoted,$(STUDENT))' --out "$(OUT)"

# One that does not compile is graded as that.
$(OUT)/student.so:
	@mkdir -p $(OUT); rm -f $@
	@$(CC) $(C_FLAGS) -shared -fPIC -o $@ $(STUDENT_C) 2>$(OUT)/student.err || true; cat $(OUT)/student.err >&2

$(OUT)/grade: grade.c $(wildcard *.h $(LABS)/grader/*.[ch]) $(LABS)/lab.mk
	$(if $(LIBRARY),,$(error libuma is not found$(if $(UMA), in $(UMA)). Build it (make), or say where it is: make grade UMA=path))
	@mkdir -p $(OUT)
	@$(CC) $(C_FLAGS) -rdynamic -o $@ grade.c $(wildcard $(LABS)/grader/*.c) -L$(dir $(LIBRARY)) -luma -Wl,-rpath,$(abspath $(dir $(LIBRARY))) -ljansson -pthread -lm

clean:
	rm -rf $(OUT)
