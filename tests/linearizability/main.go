// Command linearizability reads a history of a log that leases fence, and says whether it is
// linearizable: whether its operations could have happened one after the other, each at a moment
// between its invocation and its answer, with the answers that they had.
//
// The search is Porcupine's (github.com/anishathalye/porcupine). What is said here is what one
// operation does to the log, and how the history is written.
//
// The history comes on the standard input, one operation per line:
//
//	{"do": "append", "holder": "3.7", "items": ["3.7.0", "3.7.1"],
//	 "call": 1200, "return": 1300, "answer": "ok"}
//
// "do" is acquire, append, read or release. "holder" names a lease and is never used again.
// "call" and "return" are nanoseconds of one clock. The items of a read are what it returned. No
// item is appended twice. The answer of an append is "ok", or "lost" where the lease was. An
// operation without a "return" has an unknown outcome: it happened after its call, or never.
//
// The answer is one JSON object: {"verdict": "linearizable"}, or "not linearizable" or "unknown"
// (there was not enough time to tell), and in "unplaced" the operations that stand after the
// longest part of the history that could be put in order, the earliest call first.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

type operation struct {
	Do     string   `json:"do"`
	Holder string   `json:"holder,omitempty"`
	Items  []string `json:"items,omitempty"`
	Call   int64    `json:"call"`
	Return *int64   `json:"return,omitempty"`
	Answer string   `json:"answer,omitempty"`

	log int // of a read: what it returned
}

// logs gives every log that occurs a number, so that two are equal if their numbers are.
// The empty log is 0.
type logs map[link]int

type link struct {
	before int
	item   string
}

func (known logs) extended(log int, items []string) int {
	for _, item := range items {
		step := link{log, item}
		if known[step] == 0 {
			known[step] = len(known) + 1
		}
		log = known[step]
	}
	return log
}

// state is all that there is: who holds the lease, "" for nobody, and the log.
type state struct {
	holder string
	log    int
}

// model says what an operation does to the state, and whether it could have had its answer there.
func model(known logs) porcupine.Model {
	return porcupine.Model{
		Init: func() interface{} { return state{} },
		Step: func(before, input, _ interface{}) (bool, interface{}) {
			now, asked := before.(state), input.(*operation)
			holds := now.holder == asked.Holder
			switch asked.Do {
			case "acquire": // from nobody, or from a holder whose time is over
				now.holder = asked.Holder
			case "release":
				if holds {
					now.holder = ""
				}
			case "read":
				return now.log == asked.log, now
			case "append":
				if asked.Answer == "lost" {
					if holds { // until then: its time is over now
						now.holder = ""
					}
					return true, now
				}
				if !holds {
					return false, now
				}
				now.log = known.extended(now.log, asked.Items)
			}
			return true, now
		},
	}
}

// settled leaves out what nothing depends on, and narrows down when the rest happened, so that the
// search has less to try. Whether there is an order stays the same.
//
//   - An append without an answer whose items somebody read was done, before that read returned.
//     Where nobody read them, no answer depends on whether it was done.
//   - Nor does any depend on an acquire, a release or a read without an answer: that holder
//     appends nothing afterwards, and others take the lease whoever has it.
//   - An acquire whose holder then appended may be taken for done at the end of its call. Nobody
//     else acquired or appended between the two, and what else happened is answered alike before
//     and after. Else all who wait would be tried, in each order, at each step of their waiting.
func settled(history []*operation) []*operation {
	firstRead := map[string]int64{}
	for _, each := range history {
		if each.Do != "read" || each.Return == nil {
			continue
		}
		for _, item := range each.Items {
			if until, found := firstRead[item]; !found || *each.Return < until {
				firstRead[item] = *each.Return
			}
		}
	}
	var kept []*operation
	appended := map[string]bool{}
	for _, each := range history {
		if each.Return == nil {
			until, seen := earliest(firstRead, each.Items)
			if each.Do != "append" || !seen {
				continue
			}
			each.Return, each.Answer = &until, "ok"
		}
		if each.Do == "append" && each.Answer == "ok" {
			appended[each.Holder] = true
		}
		kept = append(kept, each)
	}
	for _, each := range kept {
		if each.Do == "acquire" && appended[each.Holder] {
			each.Call = *each.Return
		}
	}
	return kept
}

func earliest(times map[string]int64, items []string) (first int64, found bool) {
	for _, item := range items {
		if at, is := times[item]; is && (!found || at < first) {
			first, found = at, true
		}
	}
	return first, found
}

// check answers for a history, which it changes.
func check(history []*operation, patience time.Duration) answer {
	known := logs{}
	var asked []porcupine.Operation
	for _, each := range settled(history) {
		if each.Do == "read" {
			each.log = known.extended(0, each.Items)
		}
		asked = append(asked, porcupine.Operation{Input: each, Call: each.Call, Return: *each.Return})
	}
	verdict := porcupine.CheckOperationsTimeout(model(known), asked, patience)
	if verdict != porcupine.Illegal {
		return answer{Verdict: verdicts[verdict]}
	}
	// Again, as it takes more to note how far each order came.
	_, found := porcupine.CheckOperationsVerbose(model(known), asked, patience)
	placed := map[interface{}]bool{}
	longest := []porcupine.Operation{}
	for _, part := range found.PartialLinearizationsOperations() {
		for _, order := range part {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	for _, each := range longest {
		placed[each.Input] = true
	}
	said := answer{Verdict: verdicts[verdict]}
	sort.SliceStable(asked, func(i, j int) bool { return asked[i].Call < asked[j].Call })
	for _, each := range asked {
		if !placed[each.Input] && len(said.Unplaced) < shown {
			said.Unplaced = append(said.Unplaced, each.Input.(*operation))
		}
	}
	return said
}

// shown is how many operations that could not be placed are named.
const shown = 10

var verdicts = map[porcupine.CheckResult]string{
	porcupine.Ok:      "linearizable",
	porcupine.Illegal: "not linearizable",
	porcupine.Unknown: "unknown",
}

type answer struct {
	Verdict  string       `json:"verdict"`
	Unplaced []*operation `json:"unplaced,omitempty"`
}

func main() {
	var history []*operation
	for lines := json.NewDecoder(bufio.NewReader(os.Stdin)); ; {
		each := new(operation)
		if err := lines.Decode(each); err == io.EOF {
			break
		} else if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		history = append(history, each)
	}
	json.NewEncoder(os.Stdout).Encode(check(history, 2*time.Minute))
}
