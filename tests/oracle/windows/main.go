// Command windows answers questions about sync windows with Argo CD's own code: JSON lines in, JSON
// lines out, one answer per question and in the same order.
//
// The package clocked is Argo CD's pkg/apis/application/v1alpha1 of the same module version, copied
// beside this file when the program is built (tests/oracle/windows_oracle.py) with nothing but its
// clock replaced, so that any instant can be asked for. The question "now" goes to the untouched
// package and real time, to show that the copy decides the same.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	applisters "github.com/argoproj/argo-cd/v3/pkg/client/listers/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/argo"
	"github.com/argoproj/argo-cd/v3/util/glob"
	"github.com/argoproj/argo-cd/v3/util/settings"

	clocked "testbed.invalid/argo-cd/windows/clocked"
)

const namespace = "argocd"

type question struct {
	Op string `json:"op"`

	Windows json.RawMessage `json:"windows"`
	App     json.RawMessage `json:"app"`
	Now     time.Time       `json:"now"`
	Start   *time.Time      `json:"start"`

	Text  string   `json:"text"`
	Texts []string `json:"texts"`
	Times []int64  `json:"times"`

	Projects       []v1alpha1.AppProject `json:"projects"`
	Project        string                `json:"project"`
	GlobalProjects string                `json:"globalProjects"`
}

type verdict struct {
	CanSync bool   `json:"canSync"`
	Error   string `json:"error"`
}

type answer struct {
	Panic    string             `json:"panic,omitempty"`
	Error    string             `json:"error,omitempty"`
	Matched  []int              `json:"matched,omitempty"`
	Active   []int              `json:"active,omitempty"`
	Verdicts map[string]verdict `json:"verdicts,omitempty"`
	Results  []bool             `json:"results,omitempty"`
	Next     []*int64           `json:"next,omitempty"`
	Number   int64              `json:"number,omitempty"`
	Text     string             `json:"text,omitempty"`
	Windows  []string           `json:"windows,omitempty"`
	Before   *time.Time         `json:"before,omitempty"`
	After    *time.Time         `json:"after,omitempty"`
}

// judge asks CanSync, which takes the operation's start since 3.5.
func judge(canSync any, isManual bool, start *time.Time) verdict {
	var can bool
	var err error
	switch f := canSync.(type) {
	case func(bool) (bool, error):
		can, err = f(isManual)
	case func(bool, *time.Time) (bool, error):
		can, err = f(isManual, start)
	default:
		panic(fmt.Sprintf("CanSync is %T", canSync))
	}
	if err != nil {
		return verdict{can, err.Error()}
	}
	return verdict{can, ""}
}

func verdicts(canSync any, start *time.Time) map[string]verdict {
	found := map[string]verdict{
		"automatic": judge(canSync, false, nil),
		"manual":    judge(canSync, true, nil),
	}
	if start != nil {
		found["automatic started"] = judge(canSync, false, start)
		found["manual started"] = judge(canSync, true, start)
	}
	return found
}

func canSyncAt(q question) answer {
	var windows clocked.SyncWindows
	var app clocked.Application
	must(json.Unmarshal(q.Windows, &windows))
	must(json.Unmarshal(q.App, &app))
	clocked.Clock = func() time.Time { return q.Now }
	matches := windows.Matches(&app)
	out := answer{Matched: indexes(windows, matches), Verdicts: verdicts(matches.CanSync, q.Start)}
	active, err := matches.Active()
	if err != nil {
		out.Error = err.Error()
	}
	out.Active = indexes(windows, active)
	return out
}

func canSyncNow(q question) answer {
	var windows v1alpha1.SyncWindows
	var app v1alpha1.Application
	must(json.Unmarshal(q.Windows, &windows))
	must(json.Unmarshal(q.App, &app))
	before := time.Now()
	found := verdicts(windows.Matches(&app).CanSync, q.Start)
	after := time.Now()
	return answer{Verdicts: found, Before: &before, After: &after}
}

func indexes(windows clocked.SyncWindows, some *clocked.SyncWindows) []int {
	var found []int
	if some != nil {
		for _, one := range *some {
			for index, window := range windows {
				if window == one {
					found = append(found, index)
				}
			}
		}
	}
	return found
}

func next(q question) answer {
	parser := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
	schedule, err := parser.Parse(q.Text)
	if err != nil {
		return answer{Error: err.Error()}
	}
	var out answer
	for _, at := range q.Times {
		var found *int64
		if when := schedule.Next(time.Unix(at, 0).UTC()); !when.IsZero() {
			seconds := when.Unix()
			found = &seconds
		}
		out.Next = append(out.Next, found)
	}
	return out
}

func globs(q question) answer {
	var out answer
	for _, text := range q.Texts {
		matched, err := glob.MatchWithError(q.Text, text)
		if err != nil {
			return answer{Error: err.Error()}
		}
		out.Results = append(out.Results, matched)
	}
	return out
}

func globalProjects(q question) answer {
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	var project *v1alpha1.AppProject
	for i := range q.Projects {
		must(indexer.Add(&q.Projects[i]))
		if q.Projects[i].Name == q.Project {
			project = &q.Projects[i]
		}
	}
	labels := map[string]string{"app.kubernetes.io/part-of": "argocd"}
	client := fake.NewSimpleClientset(
		&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: "argocd-cm", Namespace: namespace, Labels: labels},
			Data:       map[string]string{"globalProjects": q.GlobalProjects},
		},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "argocd-secret", Namespace: namespace, Labels: labels}},
	)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	manager := settings.NewSettingsManager(ctx, client, namespace)
	merged, err := argo.GetAppVirtualProject(project, applisters.NewAppProjectLister(indexer), manager)
	must(err)
	var out answer
	for _, window := range merged.Spec.SyncWindows {
		out.Windows = append(out.Windows, window.Description)
	}
	return out
}

func reply(q question) (out answer) {
	defer func() {
		if reason := recover(); reason != nil {
			out = answer{Panic: fmt.Sprint(reason)}
		}
	}()
	switch q.Op {
	case "canSync":
		return canSyncAt(q)
	case "now":
		return canSyncNow(q)
	case "glob":
		return globs(q)
	case "list":
		for _, text := range q.Texts {
			out.Results = append(out.Results, glob.MatchStringInList([]string{q.Text}, text, glob.REGEXP))
		}
		return out
	case "cron":
		return next(q)
	case "duration":
		parsed, err := time.ParseDuration(q.Text)
		if err != nil {
			return answer{Error: err.Error()}
		}
		return answer{Number: int64(parsed)}
	case "human":
		return answer{Text: duration.HumanDuration(time.Duration(q.Times[0]))}
	case "globalProjects":
		return globalProjects(q)
	}
	panic("unknown op " + q.Op)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	logrus.SetOutput(io.Discard)
	out := bufio.NewWriter(os.Stdout)
	decoder := json.NewDecoder(bufio.NewReader(os.Stdin))
	encoder := json.NewEncoder(out)
	for {
		var q question
		if err := decoder.Decode(&q); err == io.EOF {
			break
		} else {
			must(err)
		}
		must(encoder.Encode(reply(q)))
		must(out.Flush())
	}
}
