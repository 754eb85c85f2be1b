// Command load is the one program of the autoscaling tests' image: a server
// whose metrics say what it is told to say.
//
//	load serve          serves them on port 9102
//	load set NAME N     tells the server in the same pod
//
// jobs_waiting{queue="mail"} is a gauge; requests_total is a counter that grows
// by the value of "rate" every second.
package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

const address = ":9102"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		l := &load{since: time.Now()}
		http.HandleFunc("GET /metrics", l.metrics)
		http.HandleFunc("POST /{name}/{value}", l.set)
		return http.ListenAndServe(address, nil)
	case len(args) == 3 && args[0] == "set":
		resp, err := http.Post("http://localhost"+address+"/"+args[1]+"/"+args[2], "", nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	}
	return errors.New("usage: load serve | set jobs|rate N")
}

// load is what the metrics say.
type load struct {
	mu       sync.Mutex
	jobs     float64
	requests float64 // until since
	rate     float64 // from then on
	since    time.Time
}

func (l *load) metrics(w http.ResponseWriter, _ *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(w, "# TYPE jobs_waiting gauge\njobs_waiting{queue=\"mail\"} %v\njobs_waiting{queue=\"print\"} 1000\n", l.jobs)
	fmt.Fprintf(w, "# TYPE requests_total counter\nrequests_total %v\n", l.now())
}

func (l *load) now() float64 { return l.requests + l.rate*time.Since(l.since).Seconds() }

func (l *load) set(w http.ResponseWriter, req *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	value, err := strconv.ParseFloat(req.PathValue("value"), 64)
	switch name := req.PathValue("name"); {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case name == "jobs":
		l.jobs = value
	case name == "rate":
		l.requests, l.since, l.rate = l.now(), time.Now(), value
	default:
		http.Error(w, "there is no "+name, http.StatusNotFound)
	}
}
