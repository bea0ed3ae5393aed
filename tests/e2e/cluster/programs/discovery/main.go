// Prometheus' own discovery of Kubernetes' pods, for a Prometheus that was built without it (Debian's): it reads the
// `kubernetes_sd_configs` of an ordinary configuration and hands the targets, with every label that Prometheus would
// have given them, to `http_sd_configs`.
//
// usage: discovery CONFIGURATION KUBECONFIG ADDRESS
package main

import (
	"context"
	"encoding/json"
	"log"
	"log/slog"
	"net/http"
	"os"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.yaml.in/yaml/v2"
)

// The part of Prometheus' configuration that is read here.
type configuration struct {
	Jobs []struct {
		Kubernetes []kubernetes.SDConfig `yaml:"kubernetes_sd_configs"`
	} `yaml:"scrape_configs"`
}

// What http_sd_configs reads.
type group struct {
	Targets []string       `json:"targets"`
	Labels  model.LabelSet `json:"labels"`
}

// The newest word on each source of targets.
type board struct {
	lock   sync.Mutex
	groups map[string]*targetgroup.Group
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: discovery CONFIGURATION KUBECONFIG ADDRESS")
	}
	found := &board{groups: map[string]*targetgroup.Group{}}
	for _, config := range read(os.Args[1]) {
		config.KubeConfig = os.Args[2]
		go found.follow(start(config))
	}
	http.HandleFunc("/", found.serve)
	log.Fatal(http.ListenAndServe(os.Args[3], nil))
}

func read(path string) []kubernetes.SDConfig {
	text, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	var whole configuration
	if err := yaml.Unmarshal(text, &whole); err != nil {
		log.Fatalf("%s: %v", path, err)
	}
	var all []kubernetes.SDConfig
	for _, job := range whole.Jobs {
		all = append(all, job.Kubernetes...)
	}
	if len(all) == 0 {
		log.Fatalf("%s has no kubernetes_sd_configs", path)
	}
	return all
}

func start(config kubernetes.SDConfig) <-chan []*targetgroup.Group {
	registry := prometheus.NewRegistry()
	refresh := discovery.NewRefreshMetrics(registry)
	metrics := config.NewDiscovererMetrics(registry, refresh)
	if err := metrics.Register(); err != nil {
		log.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	discoverer, err := config.NewDiscoverer(discovery.DiscovererOptions{Logger: logger, Metrics: metrics})
	if err != nil {
		log.Fatal(err)
	}
	updates := make(chan []*targetgroup.Group)
	go discoverer.Run(context.Background(), updates)
	return updates
}

func (b *board) follow(updates <-chan []*targetgroup.Group) {
	for groups := range updates {
		b.lock.Lock()
		for _, g := range groups {
			b.groups[g.Source] = g
		}
		b.lock.Unlock()
	}
}

// One group a target: http_sd_configs knows no labels of single targets.
func (b *board) serve(answer http.ResponseWriter, _ *http.Request) {
	b.lock.Lock()
	defer b.lock.Unlock()
	out := []group{}
	for _, g := range b.groups {
		for _, target := range g.Targets {
			labels := g.Labels.Merge(target)
			address := string(labels[model.AddressLabel])
			delete(labels, model.AddressLabel)
			out = append(out, group{Targets: []string{address}, Labels: labels})
		}
	}
	answer.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(answer).Encode(out); err != nil {
		log.Print(err)
	}
}
