"""Vehicles on land, water and in the air."""

from __future__ import annotations

from neuraltuning.data.scenes.catalog.category import OBJECT_COLORS, Category, Fact

VEHICLES = (
    Category(
        "car",
        "1F697",
        1400,
        (
            Fact("takes a family of four to the supermarket", "brings the whole family to the mall"),
            Fact("is parked in a garage at home", "spends the night in the garage", also=("motorcycle", "bicycle")),
            Fact("has a steering wheel and four seats", "has a trunk, four doors and a steering wheel"),
            Fact("is the thing you learn to drive at eighteen", "is the usual thing for a driving lesson"),
        ),
        colors=OBJECT_COLORS,
    ),
    Category(
        "bus",
        "1F68C",
        12000,
        (
            Fact(
                "carries many passengers along a city route",
                "lets people get on and off along its line",
                also=("train",),
            ),
            Fact("takes children to school", "picks pupils up in the morning", also=("car",)),
            Fact("stops where people wait under a roadside shelter", "halts for people waiting at the roadside"),
            Fact("has double-decker relatives in London", "is red and has two floors in London"),
        ),
        irregular_plural="buses",
        colors=OBJECT_COLORS,
    ),
    Category(
        "fire truck",
        "1F692",
        15000,
        (
            Fact("brings water to a burning house", "races to a blaze with hoses"),
            Fact("is driven by people who put out flames", "belongs to the crew that fights blazes"),
            Fact("carries hoses and a long ladder on its roof", "has an extending ladder to rescue people"),
            Fact("comes when a building burns", "is called when there is smoke"),
        ),
        symmetric=True,
    ),
    Category(
        "ambulance",
        "1F691",
        3500,
        (
            Fact("rushes sick people to the hospital", "takes the injured to a doctor with its siren on"),
            Fact("carries paramedics and a stretcher", "has a stretcher and medical gear in the back"),
            Fact("is called after a bad accident", "comes when somebody had a heart attack"),
            Fact("is a hospital on wheels", "treats patients while driving"),
        ),
        symmetric=True,
    ),
    Category(
        "tractor",
        "1F69C",
        5000,
        (
            Fact("pulls a plow across a field", "drags farm machines through the mud"),
            Fact("has huge rear wheels and is driven by a farmer", "is a farmer's main machine"),
            Fact("works on a farm and is made by John Deere", "is the green machine of John Deere"),
            Fact("slows down traffic on country roads in summer", "crawls along a country lane with a trailer of hay"),
        ),
        held_out=True,
        colors=OBJECT_COLORS,
    ),
    Category(
        "bicycle",
        "1F6B2",
        12,
        (
            Fact("has pedals and two wheels", "is moved by pushing pedals"),
            Fact("is ridden in the Tour de France", "carries the riders of the Tour de France"),
            Fact("needs no fuel but strong legs", "is powered by its rider's legs"),
            Fact("has a chain, a bell and handlebars but no motor", "has a chain and spokes but no motor"),
        ),
    ),
    Category(
        "motorcycle",
        "1F3CD",
        200,
        (
            Fact("is ridden with a helmet and a leather jacket", "is loved by riders in leather"),
            Fact("has two wheels and a loud engine", "is a fast two-wheeler with an engine"),
            Fact("is made by Harley-Davidson", "is the thing the Hells Angels ride"),
            Fact("leans into the curves of a mountain road with one rider", "is a rider's roaring machine"),
        ),
        colors=OBJECT_COLORS,
    ),
    Category(
        "train",
        "1F682",
        100000,
        (
            Fact("runs on rails", "stays on its tracks"),
            Fact("leaves from platform nine", "leaves from a station platform"),
            Fact("was driven by steam and coal long ago", "needs a stoker to shovel coal"),
            Fact("pulls many wagons through a tunnel", "has a locomotive and many wagons"),
        ),
    ),
    Category(
        "airplane",
        "2708",
        80000,
        (
            Fact("flies passengers across the ocean", "takes tourists to another continent in hours"),
            Fact("needs a long runway to take off", "lands at an airport"),
            Fact("was invented by the Wright brothers", "made the Wright brothers famous"),
            Fact("has wings and jet engines", "has a cockpit, wings and a tail fin"),
        ),
    ),
    Category(
        "helicopter",
        "1F681",
        3000,
        (
            Fact("has a big rotor on top", "is lifted by spinning blades"),
            Fact("can hover and take off straight up", "stands still in the air"),
            Fact("rescues climbers from a cliff", "lands on the roof of a tall building"),
            Fact("makes a chopping sound in the air", "is also called a chopper"),
        ),
        held_out=True,
        colors=OBJECT_COLORS,
    ),
    Category(
        "rocket",
        "1F680",
        500000,
        (
            Fact("carries astronauts into space", "brings satellites into orbit"),
            Fact("starts after a countdown", "lifts off when the count reaches zero"),
            Fact("took people to the moon", "made the first step on the moon possible"),
            Fact("leaves a launch pad in a cloud of smoke and fire", "is launched at Cape Canaveral"),
        ),
        colors=OBJECT_COLORS,
    ),
    Category(
        "ship",
        "1F6A2",
        20000000,
        (
            Fact("carries containers across the ocean", "takes goods over the sea"),
            Fact("is steered by a captain and may hit an iceberg", "sinks after hitting an iceberg in a famous film"),
            Fact("takes thousands of guests on a cruise", "is a floating hotel on a cruise"),
            Fact("unloads its cargo in the harbor", "docks in a big port"),
        ),
    ),
    Category(
        "sailboat",
        "26F5",
        2000,
        (
            Fact("is driven over the lake by the wind", "needs wind to move"),
            Fact("takes part in a regatta", "races in the America's Cup"),
            Fact("has a mast and canvas", "has a mast and a keel"),
            Fact("stands still on the lake when there is no breeze", "goes nowhere in a calm"),
        ),
        held_out=True,
    ),
)
