"""Everyday texts that people search images with, to learn how unrelated pairs score.

They spread over as many subjects as possible, so that hardly any image fits more than a few, and
over the ways of asking: single words, short phrases, whole sentences, and strings without meaning.
They also tune approximate search, which must be tuned on texts: texts lie off the distribution of
images.
"""

from __future__ import annotations

__all__ = ["GENERIC_TEXTS"]

_WORDS = """
cat dog horse elephant butterfly eagle shark spider cow frog owl penguin snake rabbit bee
bicycle car train airplane boat truck motorcycle helicopter rocket tractor bus tram
apple pizza coffee bread sushi cake wine cheese soup banana salad egg
mountain beach forest desert river waterfall volcano island glacier cave meadow swamp
castle church bridge skyscraper lighthouse stadium library hospital factory barn windmill temple
guitar piano drum violin microphone camera laptop telephone clock lamp chair bed
umbrella hat shoes glasses watch ring scarf backpack suitcase book newspaper candle
doctor soldier firefighter dancer cook farmer baby bride grandmother teenager police judge
snow rain lightning rainbow sunset fog moon stars night fire ice smoke
football tennis swimming skiing surfing boxing chess yoga golf basketball climbing running
"""

_PHRASES = """
a red sports car
an old wooden door
a crowd of people in a square
two children playing in the sand
a plate of spaghetti with tomato sauce
a close-up of a flower
a black and white portrait of a man
a map of the world
a cup of tea on a table
an empty street at night
a person riding a horse on the beach
a group of friends laughing around a campfire
a woman reading a newspaper in a cafe
a fishing boat in a small harbour
a cat sleeping on a windowsill
a dog catching a frisbee
the skyline of a big city
a handwritten letter
a page full of mathematics
a microscope image of cells
a satellite photo of a coast
a microchip on a green circuit board
a drawing of a dragon
an oil painting of a ship in a storm
a statue in front of a museum
a bowl of fresh fruit
a birthday cake with candles
a kitchen with white cupboards
a bathroom with a large mirror
a child's bedroom full of toys
a garden with roses
a field of sunflowers under a blue sky
a snowy mountain peak at sunrise
a waterfall deep in the jungle
a road through the desert
a herd of sheep on a hill
birds flying over a lake
a fish swimming in an aquarium
an insect on a green leaf
a football match in a full stadium
a man lifting weights in a gym
a surfer on a huge wave
a couple dancing at their wedding
a musician on a stage with coloured lights
an astronaut floating in space
the surface of the moon through a telescope
a rocket leaving its launch pad
a steam train crossing a viaduct
traffic on a motorway at rush hour
an aeroplane landing in the fog
a bicycle leaning against a brick wall
a pile of old books
a pair of running shoes
a hand holding a mobile phone
a screenshot of a web page
a bar chart with four columns
a warning sign on a fence
a shop window with dresses
a market stall with vegetables
fireworks over a river
"""

_SENTENCES = """
A young girl in a yellow raincoat jumps into a puddle.
Several cyclists are waiting for the traffic light to turn green.
The chef is cutting onions on a wooden board in a restaurant kitchen.
There is a long queue in front of the ticket office.
An elderly couple is sitting on a bench and looking at the sea.
The room has a grey sofa, a round table and a large window.
Workers with helmets are standing on the roof of a new building.
A brown bear is catching a salmon in a shallow river.
Students are listening to a lecture in a crowded hall.
The train on the left platform is about to leave.
A man in a suit is shaking hands with a woman in front of a flag.
Three colourful hot-air balloons are rising above the hills.
"""

_NONSENSE = """
qwxzv blorf
asdfghjkl
zzyzx vlumpt grishnok
fnord quibbleplax
xkcjq wvtr
lorem ipsum dolor sit amet
blah blah blah
00000000
the of and to in
uiop 7731 zxcvb
drenthixal morpuvane
!!! ??? ...
"""

GENERIC_TEXTS: tuple[str, ...] = (
    *_WORDS.split(),
    *_PHRASES.strip().split("\n"),
    *_SENTENCES.strip().split("\n"),
    *_NONSENSE.strip().split("\n"),
)
